//! How long a storage that does not answer is waited for: asked again, ever more rarely, and given up after about a minute.
//! Who watches the log is told.

use std::{
    io::Write as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::StoreError;

/// The environment variable with the seconds after which a storage that does not answer is given up.
const SECONDS: &str = "BACKPROOF_STORAGE_PATIENCE";
const DEFAULT: Duration = Duration::from_secs(60);
/// Between the first two questions; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Between two lines in the log, however many wait.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// A failure, and whether it may pass.
pub(super) struct Failure {
    pub(super) error: StoreError,
    pub(super) may_pass: bool,
}

impl From<StoreError> for Failure {
    /// What is no matter of the storage's mood.
    fn from(error: StoreError) -> Self {
        Self { error, may_pass: false }
    }
}

/// The patience with one storage, shared by everybody who reads from it.
pub(super) struct Patience {
    most: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since when nothing was answered.
    silent_since: Option<Instant>,
    told: Option<Instant>,
}

impl Patience {
    /// As the environment says.
    pub(super) fn from_env() -> Self {
        let set = std::env::var(SECONDS).ok().and_then(|text| text.trim().parse().ok());
        Self::new(set.map_or(DEFAULT, Duration::from_secs))
    }

    fn new(most: Duration) -> Self {
        Self { most, state: Mutex::default() }
    }

    /// Asks until there is an answer, or a failure that will not pass, or the patience has ended.
    pub(super) fn ask<T>(&self, path: &str, question: impl FnMut() -> Result<T, Failure>) -> Result<T, StoreError> {
        self.ask_with(path, question, Instant::now, std::thread::sleep)
    }

    fn ask_with<T>(
        &self,
        path: &str,
        mut question: impl FnMut() -> Result<T, Failure>,
        now: impl Fn() -> Instant,
        sleep: impl Fn(Duration),
    ) -> Result<T, StoreError> {
        let mut pause = FIRST_PAUSE;
        let mut own_since = None;
        loop {
            let asked = now();
            let failure = match question() {
                Err(failure) if failure.may_pass => failure,
                answer => {
                    self.lock().silent_since = None;
                    return answer.map_err(|failure| failure.error);
                }
            };
            // Both count: what one reader waited for need not be waited for again by the next, and an object that fails
            // while others do not is given up as well.
            let own = *own_since.get_or_insert(asked);
            let shared = *self.lock().silent_since.get_or_insert(asked);
            let left = self.most.saturating_sub(now().saturating_duration_since(own.min(shared)));
            if left.is_zero() {
                return Err(failure.error);
            }
            let wait = pause.min(left);
            self.tell(path, &failure.error, wait, left, now());
            sleep(wait);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn tell(&self, path: &str, error: &StoreError, wait: Duration, left: Duration, now: Instant) {
        let mut state = self.lock();
        if state.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            return;
        }
        state.told = Some(now);
        drop(state);
        let line = serde_json::json!({ "progress": {
            "step": "waiting", "path": path, "detail": error.to_string(),
            "askedAgainInSeconds": wait.as_secs_f32(), "givenUpInSeconds": left.as_secs(),
        } });
        // A closed stderr is no reason to end.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn failure(may_pass: bool) -> Failure {
        Failure { error: StoreError::Unreachable { path: "config".to_owned(), text: "connection refused".to_owned() }, may_pass }
    }

    /// Asks with a clock of its own, where each question takes `each`; says how often it asked and how long it took.
    fn ask(patience: &Patience, each: Duration, answers: impl Fn(u32) -> Result<(), Failure>) -> (bool, u32, Duration) {
        let start = Instant::now();
        let (clock, asked) = (Cell::new(start), Cell::new(0));
        let question = || {
            clock.set(clock.get() + each);
            asked.set(asked.get() + 1);
            answers(asked.get())
        };
        let answer = patience.ask_with("config", question, || clock.get(), |pause| clock.set(clock.get() + pause));
        (answer.is_ok(), asked.get(), clock.get() - start)
    }

    #[test]
    fn a_storage_that_stays_away_is_given_up_after_a_minute() {
        let patience = Patience::new(DEFAULT);
        let (ok, asked, took) = ask(&patience, Duration::from_millis(1), |_| Err(failure(true)));
        assert!(!ok && took >= DEFAULT && took < DEFAULT + Duration::from_secs(1), "{took:?}");
        assert!((8..=16).contains(&asked), "{asked} questions");
        // Whoever asks next does not wait another minute.
        assert_eq!(patience.lock().silent_since.map(|since| since <= Instant::now()), Some(true));
    }

    #[test]
    fn a_question_that_takes_longer_than_the_patience_is_not_asked_twice() {
        let (ok, asked, _) = ask(&Patience::new(DEFAULT), Duration::from_secs(61), |_| Err(failure(true)));
        assert_eq!((ok, asked), (false, 1));
    }

    #[test]
    fn one_that_comes_back_is_used_and_what_will_not_pass_is_told_at_once() {
        let patience = Patience::new(DEFAULT);
        let back = |asked| if asked < 5 { Err(failure(true)) } else { Ok(()) };
        let (ok, asked, took) = ask(&patience, Duration::ZERO, back);
        assert!(ok && asked == 5 && took > Duration::from_secs(7), "{took:?}");
        assert!(patience.lock().silent_since.is_none());
        let (ok, asked, took) = ask(&patience, Duration::ZERO, |_| Err(failure(false)));
        assert_eq!((ok, asked, took), (false, 1, Duration::ZERO));
    }
}
