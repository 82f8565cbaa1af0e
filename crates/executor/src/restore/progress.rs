//! How far the run is: figures that every thread counts up, and one JSON line of them on stderr every few seconds.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(5);

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Keys, config, indexes.
    Open,
    /// The snapshot's directories.
    Trees,
    /// Removing what an earlier run left.
    Wipe,
    /// Writing to the target.
    Restore,
    /// Waiting until the target holds it for good.
    Sync,
    /// Reading it again.
    ReadBack,
}

const STEPS: [(Step, &str); 6] = [
    (Step::Open, "open"),
    (Step::Trees, "trees"),
    (Step::Wipe, "wipe"),
    (Step::Restore, "restore"),
    (Step::Sync, "sync"),
    (Step::ReadBack, "readBack"),
];

/// The figures of the current step.
#[derive(Default)]
pub(crate) struct Progress {
    step: AtomicU8,
    pub(crate) objects: AtomicU64,
    objects_total: AtomicU64,
    pub(crate) bytes: AtomicU64,
    bytes_total: AtomicU64,
    /// What was read back; that begins while others are written.
    read_objects: AtomicU64,
    read_bytes: AtomicU64,
}

impl Progress {
    /// Begins a step of so many objects and bytes.
    pub(crate) fn begin(&self, step: Step, objects: u64, bytes: u64) {
        let number = STEPS.iter().position(|(known, _)| *known == step).and_then(|at| u8::try_from(at).ok()).unwrap_or(0);
        self.step.store(number, Relaxed);
        self.objects.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        self.objects_total.store(objects, Relaxed);
        self.bytes_total.store(bytes, Relaxed);
        self.print();
    }

    /// Counts one object and its bytes.
    pub(crate) fn count(&self, objects: u64, bytes: u64) {
        self.objects.fetch_add(objects, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts one object that was read back, and its bytes.
    pub(crate) fn read(&self, objects: u64, bytes: u64) {
        self.read_objects.fetch_add(objects, Relaxed);
        self.read_bytes.fetch_add(bytes, Relaxed);
    }

    fn line(&self) -> String {
        let step = STEPS.get(usize::from(self.step.load(Relaxed)));
        let (objects, bytes) = match step {
            Some((Step::ReadBack, _)) => (&self.read_objects, &self.read_bytes),
            Some(_) | None => (&self.objects, &self.bytes),
        };
        let value = serde_json::json!({
            "step": step.map_or("", |(_, name)| name),
            "objects": objects.load(Relaxed), "objectsTotal": self.objects_total.load(Relaxed),
            "bytes": bytes.load(Relaxed), "bytesTotal": self.bytes_total.load(Relaxed),
        });
        serde_json::json!({ "progress": value }).to_string()
    }

    fn print(&self) {
        // A closed stderr is no reason to end.
        let _ = writeln!(std::io::stderr(), "{}", self.line());
    }

    /// Prints until the process ends.
    pub(crate) fn keep_printing(self: &Arc<Self>) {
        let progress = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(EVERY);
                progress.print();
            }
        });
        // Without this thread there are fewer lines, and nothing else.
        drop(spawned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_document() {
        let progress = Progress::default();
        progress.read(1, 30);
        progress.begin(Step::ReadBack, 3, 100);
        progress.read(0, 10);
        let line: serde_json::Value = serde_json::from_str(&progress.line()).unwrap();
        assert_eq!(
            line,
            serde_json::json!({ "progress": { "step": "readBack", "objects": 1, "objectsTotal": 3, "bytes": 40, "bytesTotal": 100 } })
        );
    }
}
