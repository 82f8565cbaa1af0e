//! What is printed: text that cannot steer a terminal, tables, JSON and YAML.

use std::io::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::error::Error;

/// Prints to standard output. Who has closed it wanted no more.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::local("cannot print", error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Text from the cluster on one line, without what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Rows under their titles, columns aligned by their widest cell, without blanks at the end.
pub(crate) fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let width = |n: usize, title: &str| {
        rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).chain([title.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = titles.iter().enumerate().map(|(n, title)| width(n, title)).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("   ").trim_end())
    };
    let mut text = line(titles.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// A document as YAML.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String, Error> {
    let text = serde_saphyr::to_string(value).map_err(|error| Error::local("cannot write YAML", error))?;
    Ok(format!("{}\n", text.trim_end()))
}

/// A document as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::local("cannot write JSON", error))?;
    Ok(format!("{text}\n"))
}

/// How long ago that was, in its one or two largest units: `42s`, `5m10s`, `3h`, `12d`. A time to come is `0s`.
pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).max(SignedDuration::ZERO).as_secs();
    let two = |whole: i64, unit: &str, rest: i64, small: &str| {
        if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{small}") }
    };
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=599 => two(seconds / 60, "m", seconds % 60, "s"),
        600..=10_799 => format!("{}m", seconds / 60),
        10_800..=35_999 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        36_000..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_ends_without_blanks() {
        let rows = [vec!["a".to_owned(), "long cell".to_owned()], vec!["wider".to_owned(), String::new()]];
        assert_eq!(table(&["ONE", "TWO"], &rows), "ONE     TWO\na       long cell\nwider\n");
    }

    #[test]
    fn ages_are_short() {
        let now = Timestamp::UNIX_EPOCH;
        let ago = |seconds| age(now - SignedDuration::from_secs(seconds), now);
        assert_eq!(
            [-5, 0, 119, 130, 300, 700, 11_000, 40_000, 200_000].map(ago),
            ["0s", "0s", "119s", "2m10s", "5m", "11m", "3h3m", "11h", "2d"]
        );
    }

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(plain("a\u{1b}[2Jb\r\nc"), "a [2Jb  c");
    }
}
