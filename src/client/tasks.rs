//! Tasks with an owner that awaits them.

use std::sync::Mutex;

use crate::runtime::Task;

/// The tasks that a client started.
#[derive(Default)]
pub(super) struct Tasks(Mutex<Vec<Task>>);

impl Tasks {
    pub(super) fn add(&self, task: Task) {
        let mut tasks = self.0.lock().expect("no panic while locked");
        tasks.retain_mut(|task| !task.is_ended());
        tasks.push(task);
    }

    /// Waits for all of them.
    pub(super) async fn ended(&self) {
        loop {
            let task = self.0.lock().expect("no panic while locked").pop();
            let Some(task) = task else { return };
            task.ended().await;
        }
    }
}
