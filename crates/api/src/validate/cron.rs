//! Cron texts as the controller manager reads them: five fields or a descriptor.
//!
//! The grammar is that of the library behind Kubernetes CronJobs, not the wider one of the cron crates: seconds, `L`, `W` and
//! `#` would pass there and be refused when the CronJob is made, hours after the author has gone.

use crate::duration;

const DESCRIPTORS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// One of the five fields: its name for messages, its bounds, and words that stand for numbers from the lower bound on.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of month", least: 1, most: 31, words: &[] },
    Field { name: "month", least: 1, most: 12, words: &MONTHS },
    Field { name: "day of week", least: 0, most: 6, words: &DAYS },
];

/// What one field allows.
#[derive(Clone, Copy, Default)]
struct Allowed {
    /// One bit per value.
    bits: u64,
    /// Whether the field says nothing (`*` or `?`).
    any: bool,
}

/// Whether a CronJob accepts this schedule, and whether it can ever fire.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_schedule(schedule: &str) -> Result<(), String> {
    if schedule.contains("TZ") {
        return Err("a time zone cannot be given in the schedule".to_owned());
    }
    if let Some(descriptor) = schedule.strip_prefix('@') {
        return check_descriptor(schedule, descriptor);
    }
    let texts: Vec<&str> = schedule.split_whitespace().collect();
    if texts.len() != FIELDS.len() {
        return Err(format!("it has {} fields, not 5 (minute, hour, day of month, month, day of week)", texts.len()));
    }
    let mut allowed = [Allowed::default(); 5];
    for ((slot, field), text) in allowed.iter_mut().zip(&FIELDS).zip(&texts) {
        *slot = parse_field(field, text)?;
    }
    if let Some((_, field)) = allowed.iter().zip(&FIELDS).find(|(slot, _)| slot.bits == 0) {
        return Err(format!("it never fires: {} names no value", field.name));
    }
    let [_, _, days, months, weekdays] = allowed;
    // With a day of week given as well, either of the two lets it fire.
    if weekdays.any && !days.any && !day_exists(days, months) {
        return Err("it never fires: no such month has such a day".to_owned());
    }
    Ok(())
}

fn check_descriptor(schedule: &str, descriptor: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&schedule) {
        return Ok(());
    }
    match descriptor.strip_prefix("every ") {
        Some(text) => duration::parse(text).map(|_| ()).map_err(|error| error.to_string()),
        None => Err(format!("{schedule:?} is not one of {} or @every DURATION", DESCRIPTORS.join(", "))),
    }
}

fn parse_field(field: &Field, text: &str) -> Result<Allowed, String> {
    let mut whole = Allowed::default();
    // Like Go's FieldsFunc, which drops what is empty between two commas.
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let range = parse_range(field, part)?;
        whole = Allowed { bits: whole.bits | range.bits, any: whole.any || range.any };
    }
    Ok(whole)
}

/// `*`, `?`, `N`, `N-M`, each with an optional `/STEP`.
fn parse_range(field: &Field, text: &str) -> Result<Allowed, String> {
    let fault = |what: &str| format!("{what} in {text:?} ({}, {} to {})", field.name, field.least, field.most);
    let (range, step) = match text.split_once('/') {
        Some((_, step)) if step.contains('/') => return Err(fault("two steps")),
        Some((range, step)) => (range, Some(step)),
        None => (text, None),
    };
    let (from, to) = match range.split_once('-') {
        Some((_, to)) if to.contains('-') => return Err(fault("two hyphens")),
        Some((from, to)) => (from, Some(to)),
        None => (range, None),
    };
    let everything = from == "*" || from == "?";
    let first = if everything { field.least } else { value(field, from).ok_or_else(|| fault("no such value"))? };
    let step_value = match step {
        Some(step) => step.parse::<u32>().map_err(|_| fault("no such step"))?,
        None => 1,
    };
    let last = match to {
        _ if everything => field.most,
        Some(to) => value(field, to).ok_or_else(|| fault("no such value"))?,
        None if step.is_some() => field.most,
        None => first,
    };
    if first < field.least || last > field.most {
        return Err(fault("a value out of bounds"));
    }
    if first > last {
        return Err(fault("a range that ends before it starts"));
    }
    if step_value == 0 {
        return Err(fault("a step of 0"));
    }
    let bits = (first..=last).step_by(step_value as usize).fold(0, |bits, value| bits | 1u64 << value);
    Ok(Allowed { bits, any: everything && step_value == 1 })
}

fn value(field: &Field, text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    match field.words.iter().position(|word| *word == lower) {
        Some(at) => Some(field.least + u32::try_from(at).ok()?),
        None => text.parse().ok(),
    }
}

/// Whether a day of the month exists in one of the months, leap years counted.
fn day_exists(days: Allowed, months: Allowed) -> bool {
    const LONGEST: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    LONGEST.iter().zip(1u32..).any(|(longest, month)| {
        let possible = (1u64 << (longest + 1)) - 1;
        months.bits & (1 << month) != 0 && days.bits & possible != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cronjob_takes() {
        for good in [
            "* * * * *",
            "*/5 * * * *",
            "0 3 * * *",
            "0 0 29 2 *",
            "0-30/2,45 1,2 1-15 JAN-mar mon-FRI",
            "? ? ? ? ?",
            "5/15 * * * 0",
            "@daily",
            "@hourly",
            "@every 1h30m",
            "0 0 31 2 1",
            "1,,2 * * * *",
            " 0  3 * * * ",
        ] {
            assert_eq!(check_schedule(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_it_refuses_and_why() {
        let table = [
            ("", "it has 0 fields, not 5 (minute, hour, day of month, month, day of week)"),
            ("0 0 3 * * *", "it has 6 fields, not 5 (minute, hour, day of month, month, day of week)"),
            ("60 * * * *", "a value out of bounds in \"60\" (minute, 0 to 59)"),
            ("* 24 * * *", "a value out of bounds in \"24\" (hour, 0 to 23)"),
            ("* * 0 * *", "a value out of bounds in \"0\" (day of month, 1 to 31)"),
            ("* * * 13 *", "a value out of bounds in \"13\" (month, 1 to 12)"),
            ("* * * * 7", "a value out of bounds in \"7\" (day of week, 0 to 6)"),
            ("* * * * L", "no such value in \"L\" (day of week, 0 to 6)"),
            ("5-3 * * * *", "a range that ends before it starts in \"5-3\" (minute, 0 to 59)"),
            ("*/0 * * * *", "a step of 0 in \"*/0\" (minute, 0 to 59)"),
            ("1-2-3 * * * *", "two hyphens in \"1-2-3\" (minute, 0 to 59)"),
            ("1/2/3 * * * *", "two steps in \"1/2/3\" (minute, 0 to 59)"),
            ("a * * * *", "no such value in \"a\" (minute, 0 to 59)"),
            ("99999999999 * * * *", "no such value in \"99999999999\" (minute, 0 to 59)"),
            (", * * * *", "it never fires: minute names no value"),
            ("0 0 30 2 *", "it never fires: no such month has such a day"),
            ("0 0 31 4,6,9,11 *", "it never fires: no such month has such a day"),
            ("CRON_TZ=UTC 0 3 * * *", "a time zone cannot be given in the schedule"),
            ("@often", "\"@often\" is not one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every DURATION"),
        ];
        for (schedule, why) in table {
            assert_eq!(check_schedule(schedule), Err(why.to_owned()), "{schedule}");
        }
    }
}
