//! Waiting for something to become true, with a limit against hanging.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often the condition is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// Calls `look` until it gives a value; an error that says what was waited for after `limit`.
/// `progress` hears about every ten seconds of waiting.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut progress: impl FnMut(&str, Duration),
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut said = start;
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("waited {} s in vain for: {what}", limit.as_secs());
        }
        if said.elapsed() >= Duration::from_secs(10) {
            progress(what, start.elapsed());
            said = Instant::now();
        }
        std::thread::sleep(PAUSE);
    }
}

/// The same without progress.
pub fn quietly<T>(what: &str, limit: Duration, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until(what, limit, |_, _| {}, look)
}
