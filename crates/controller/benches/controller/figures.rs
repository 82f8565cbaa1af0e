//! Percentiles, and what /proc says of a process.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// The value below which this share of the samples lies.
pub(crate) fn part(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len().max(1) - 1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    part(samples, 0.5)
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What a process holds in memory now, and at most so far, in KiB.
pub(crate) fn memory(process: u32) -> Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let figure = |name: &str| -> Result<f64> {
        let line = status.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
        Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
    };
    Ok((figure("VmRSS:")?, figure("VmHWM:")?))
}

/// The processor time a process has used, in milliseconds; the kernel counts it in hundredths of a second.
pub(crate) fn cpu(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in brackets may hold spaces; what follows it starts with the third field.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("no processor time")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) * 10.0)
}
