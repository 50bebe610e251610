//! Where requests come in: a TCP address, or a socket file.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::Router;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::connections;
use super::crowd::Crowd;

/// The owner and the group may connect.
const SOCKET_MODE: u32 = 0o660;

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("[server] listen: {address}: {error}")]
pub struct BindError {
    /// As it was asked for.
    pub address: String,
    /// The system's answer.
    pub error: std::io::Error,
}

/// Bound, and not yet answering: connections wait in the system's queue.
pub enum Listener {
    /// With the port that was picked.
    Tcp(TcpListener, SocketAddr),
    /// With its file, which is removed at the end.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds a TCP address; port 0 picks one.
    pub async fn tcp(address: SocketAddr) -> Result<Self, BindError> {
        let failed = |error| BindError { address: address.to_string(), error };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let picked = listener.local_addr().map_err(failed)?;
        Ok(Self::Tcp(listener, picked))
    }

    /// Binds a socket file. One that nobody answers on was left by a process that died, and is replaced.
    pub async fn unix(path: &Path) -> Result<Self, BindError> {
        let failed = |error| BindError { address: format!("unix:{}", path.display()), error };
        let left_over = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        if left_over && UnixStream::connect(path).await.is_err() {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Self::Unix(listener, path.to_owned()))
    }

    /// As a client would write it.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(_, address) => format!("http://{address}"),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// Answers until told to stop; requests on their way are answered still.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let crowd = Crowd::for_this_process();
        match self {
            Self::Tcp(listener, _) => connections::answer(listener, router, crowd, &stop).await,
            Self::Unix(listener, path) => {
                connections::answer(listener, router, crowd, &stop).await;
                std::fs::remove_file(path).ok();
            }
        }
    }
}
