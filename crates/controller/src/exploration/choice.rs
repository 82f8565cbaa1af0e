//! What may happen next, as a value and as a text that replays.

use std::{fmt, str::FromStr};

use super::{
    cluster::Deed,
    outside::Edit,
    world::{Watch, Work},
};

/// What may happen next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Choice {
    /// A reconcile, with what goes wrong in it.
    Run(Work, Trouble),
    /// The Job controller, kubelet or garbage collector does something to the object of this name.
    Cluster(Deed, String),
    /// Somebody else does something.
    Outside(Edit),
    /// A watch falls behind.
    Late(Watch),
    /// A watch that is behind delivers its next version.
    Next(Watch),
    /// A watch that is behind catches up.
    CaughtUp(Watch),
    /// Time passes until the next thing is due.
    Tick,
    /// The controller's clock jumps by so many seconds.
    Jump(i64),
    /// The process is killed between reconciles and starts again.
    Restart,
}

/// What goes wrong in a reconcile. Writes and calls are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Trouble {
    None,
    /// The process dies when this write was done.
    Die(u32),
    /// This write is done, but its answer is lost.
    Lose(u32),
    /// This write is refused with this HTTP status.
    Refuse(u32, u16),
    /// This call, read or write, fails with this HTTP status.
    Fail(u32, u16),
    /// Before this write, something else happens.
    Overtaken(u32, Box<Choice>),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(work, Trouble::None) => write!(f, "{work}"),
            Self::Run(work, Trouble::Die(at)) => write!(f, "{work}!die!{at}"),
            Self::Run(work, Trouble::Lose(at)) => write!(f, "{work}!lose!{at}"),
            Self::Run(work, Trouble::Refuse(at, code)) => write!(f, "{work}!refuse!{at}!{code}"),
            Self::Run(work, Trouble::Fail(at, code)) => write!(f, "{work}!fail!{at}!{code}"),
            Self::Run(work, Trouble::Overtaken(at, by)) => write!(f, "{work}!overtaken!{at}!{by}"),
            Self::Cluster(deed, name) => write!(f, "cluster:{deed}:{name}"),
            Self::Outside(edit) => write!(f, "outside:{edit}"),
            Self::Late(watch) => write!(f, "late:{}", watch.word()),
            Self::Next(watch) => write!(f, "next:{}", watch.word()),
            Self::CaughtUp(watch) => write!(f, "caught-up:{}", watch.word()),
            Self::Tick => f.write_str("tick"),
            Self::Jump(seconds) => write!(f, "jump:{seconds}"),
            Self::Restart => f.write_str("restart"),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no choice");
        let (head, trouble) = text.split_once('!').unwrap_or((text, ""));
        let (word, rest) = head.split_once(':').unwrap_or((head, ""));
        let watch = || Watch::ALL.into_iter().find(|watch| watch.word() == rest).ok_or_else(wrong);
        Ok(match word {
            "session" => Self::Run(Work::Session(rest.to_owned()), trouble.parse()?),
            "restore" => Self::Run(Work::Restore(rest.to_owned()), trouble.parse()?),
            "cluster" => {
                let (deed, name) = rest.split_once(':').ok_or_else(wrong)?;
                Self::Cluster(deed.parse()?, name.to_owned())
            }
            "outside" => Self::Outside(rest.parse()?),
            "late" => Self::Late(watch()?),
            "next" => Self::Next(watch()?),
            "caught-up" => Self::CaughtUp(watch()?),
            "tick" => Self::Tick,
            "jump" => Self::Jump(rest.parse().map_err(|_| wrong())?),
            "restart" => Self::Restart,
            _ => return Err(wrong()),
        })
    }
}

impl FromStr for Trouble {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no trouble");
        let mut parts = text.splitn(3, '!');
        let word = parts.next().unwrap_or_default();
        let at = parts.next().unwrap_or("0").parse().map_err(|_| wrong())?;
        let rest = parts.next().unwrap_or_default();
        let code = || rest.parse().map_err(|_| wrong());
        Ok(match word {
            "" => Self::None,
            "die" => Self::Die(at),
            "lose" => Self::Lose(at),
            "refuse" => Self::Refuse(at, code()?),
            "fail" => Self::Fail(at, code()?),
            "overtaken" => Self::Overtaken(at, Box::new(rest.parse()?)),
            _ => return Err(wrong()),
        })
    }
}

/// A schedule as one line.
pub(super) fn line(path: &[Choice]) -> String {
    path.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A schedule from one line.
pub(super) fn parse(line: &str) -> Result<Vec<Choice>, String> {
    line.split_whitespace().map(str::parse).collect()
}

#[test]
fn a_schedule_reads_back() {
    let text = "session:a!overtaken!2!restore:a!lose!1 cluster:end-good:p outside:delete-session:a late:jobs next:jobs \
                caught-up:jobs tick jump:-60 restart restore:a!refuse!1!409 session:a!die!3 session:a!fail!7!500";
    assert_eq!(line(&parse(text).unwrap()), text.split_whitespace().collect::<Vec<_>>().join(" "));
}
