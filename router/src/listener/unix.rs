//! Sockets in the file system.
//!
//! Once a connection is there, it is read and written by the same system calls as one of TCP, and so its socket goes by the
//! same type: a second one would cost every read and write of TCP a comparison.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use gridrouter_config::address::NOBODY;
use rustix::fs::OFlags;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpStream, UnixStream};

use super::socket::BACKLOG;

/// Where whoever comes by such a socket comes from.
pub(crate) const PEER: SocketAddr = SocketAddr::new(NOBODY, 0);

/// The socket of a connection, as those of TCP are.
pub(crate) fn as_tcp(stream: UnixStream) -> io::Result<TcpStream> {
    TcpStream::from_std(OwnedFd::from(stream.into_std()?).into())
}

/// Which file a socket is: another one may stand in its place later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &str) -> io::Result<Self> {
        Ok(Self::from(&std::fs::symlink_metadata(path)?))
    }
}

impl From<&Metadata> for FileId {
    fn from(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// Whose turn it is to put a socket at a path or to take it away: of several processes that find one that nobody listens
/// at, one only may take its place. A locked file beside it says so, which goes with this, and whose lock goes with the
/// process that was killed.
struct Turn {
    name: String,
    _locked: File,
}

impl Turn {
    /// An error when it is somebody else's turn: whoever would wait for it would find the path taken.
    fn take(path: &str) -> io::Result<Self> {
        let busy = || io::Error::new(io::ErrorKind::AddrInUse, "somebody else is about to listen there");
        let name = format!("{path}.new.lock");
        for _ in 0..TRIES {
            // A symbolic link there is somebody else's, and could name any file.
            let own_only = OFlags::NOFOLLOW.bits().cast_signed();
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600).custom_flags(own_only);
            let file = options.open(&name)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(busy()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Whoever had it before may have removed the file between the two: then another one may be locked, too.
            let own = FileId::from(&file.metadata()?);
            if FileId::of(&name).is_ok_and(|found| found == own) {
                return Ok(Self { name, _locked: file });
            }
        }
        Err(busy())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is locked still. Where it stays, nothing is wrong.
        let _gone: io::Result<()> = std::fs::remove_file(&self.name);
    }
}

/// How often others may have their turn between two steps of one that wants it.
const TRIES: usize = 16;

/// Listens at a path that nobody else listens at. The socket is there under its name when it takes connections, with the
/// permissions that it is to have.
pub(crate) fn bind(path: &str, mode: u32) -> io::Result<(UnixListener, FileId)> {
    let _turn = Turn::take(path)?;
    ensure_unused(path)?;
    let unready = format!("{path}.new");
    // What an earlier start has left behind, if anything; nobody listens there for longer than it takes to start.
    let _none: io::Result<()> = remove_socket(&unready);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&unready)?)?;
    std::fs::set_permissions(&unready, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    std::fs::rename(&unready, path)?;
    Ok((OwnedFd::from(socket).into(), FileId::of(path)?))
}

/// Whether a socket may take this path: nothing is there, or a socket that nobody listens at any more.
fn ensure_unused(path: &str) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something is there that is no socket"));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Whoever listens may have too much to do to take a connection at once.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(()) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there"))
        }
        Err(error) => Err(error),
    }
}

fn remove_socket(path: &str) -> io::Result<()> {
    if std::fs::symlink_metadata(path)?.file_type().is_socket() {
        std::fs::remove_file(Path::new(path))?;
    }
    Ok(())
}

/// Removes a socket, unless another one has taken its place, or is about to.
pub(crate) fn remove(path: &str, id: FileId) {
    let _turn = match Turn::take(path) {
        Ok(turn) => Some(turn),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return,
        // Where no file can be made, none can be removed either, and the reason is told below.
        Err(_) => None,
    };
    if FileId::of(path).is_ok_and(|found| found == id)
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::warn!(path, %error, "a socket cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_path_is_taken_from_the_dead_and_from_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let path = path.to_str().unwrap();
        let (first, id) = bind(path, 0o600).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        UnixStream::connect(path).unwrap();
        assert_eq!(bind(path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // Its process was killed.
        drop(first);
        let (second, newer) = bind(path, 0o666).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o666);
        UnixStream::connect(path).unwrap();
        // Who comes late does not remove what another one has put there.
        if id != newer {
            remove(path, id);
            UnixStream::connect(path).unwrap();
        }
        remove(path, newer);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        drop(second);
        std::fs::write(path, "a file").unwrap();
        assert_eq!(bind(path, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "a file");
        let nowhere = directory.path().join("none/a.sock");
        assert_eq!(bind(nowhere.to_str().unwrap(), 0o600).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn of_many_that_take_the_place_of_a_dead_one_at_once_one_has_it() {
        const MANY: usize = 8;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let path = path.to_str().unwrap();
        for _ in 0..200 {
            let (dead, _) = bind(path, 0o600).unwrap();
            drop(dead);
            let start = std::sync::Barrier::new(MANY);
            let all: Vec<_> = std::thread::scope(|scope| {
                let one = || {
                    start.wait();
                    bind(path, 0o600)
                };
                let threads: Vec<_> = (0..MANY).map(|_| scope.spawn(one)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
            let [Ok((listener, id))] = &won[..] else { panic!("{} have it", won.len()) };
            assert!(lost.iter().all(|one| one.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)));
            // And it is the one whom clients reach.
            UnixStream::connect(path).unwrap();
            listener.accept().unwrap();
            remove(path, *id);
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_lock_that_a_killed_process_has_left_keeps_nobody_from_listening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let path = path.to_str().unwrap();
        std::fs::write(format!("{path}.new.lock"), "").unwrap();
        let (_listener, id) = bind(path, 0o600).unwrap();
        let turn = Turn::take(path).unwrap();
        assert_eq!(bind(path, 0o600).unwrap_err().to_string(), "somebody else is about to listen there");
        drop(turn);
        remove(path, id);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_symbolic_link_in_the_place_of_the_lock_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let path = path.to_str().unwrap();
        let other = directory.path().join("other");
        std::os::unix::fs::symlink(&other, format!("{path}.new.lock")).unwrap();
        bind(path, 0o600).unwrap_err();
        assert!(!other.exists());
    }

    #[test]
    fn whoever_listens_and_has_no_time_listens_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(bind(path.to_str().unwrap(), 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(waiting);
    }
}
