//! Ctrl-c and SIGTERM.

use tokio::sync::watch;

/// Whether the user wants the program to end.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on: the first wish ends the program gracefully, the second at once.
    ///
    /// Must be called on a tokio runtime.
    pub fn listen() -> Self {
        let (wish, wished) = watch::channel(false);
        tokio::spawn(async move {
            if signal().await {
                wish.send_replace(true);
                if signal().await {
                    crate::tutorial::terminal::give_back();
                    std::process::exit(1);
                }
            }
            // Where there are no signals nobody ever wishes anything.
            std::future::pending::<()>().await;
        });
        Self(wished)
    }

    /// Waits for the wish. Cancel-safe.
    pub async fn wished(&mut self) {
        if self.0.wait_for(|wished| *wished).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits for one signal; false if there can be none.
async fn signal() -> bool {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return false };
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.is_ok(),
            terminated = terminate.recv() => terminated.is_some(),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.is_ok()
}
