//! Starting counterparts that are servers: each on a free port of 127.0.0.1, in a folder of its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::process::{Result, stop_group};

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    /// Where it listens.
    pub(super) port: u16,
}

/// How long a server may take until it accepts connections.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts `words`, in which `{port}` and `{folder}` are filled in, with what it prints in `<folder>/output`.
pub(super) fn start(words: &[String], folder: &Path) -> Result<Server> {
    let failed = |why: std::io::Error| format!("start {}: {why}", words.join(" "));
    let folder = folder.join(format!("run-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(failed)?;
    // Free now; a server cannot be handed the socket itself.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let port = free.local_addr().map_err(failed)?.port();
    drop(free);

    let (number, inside) = (port.to_string(), folder.to_string_lossy().into_owned());
    let mut filled = words.iter().map(|word| word.replace("{port}", &number).replace("{folder}", &inside));
    let mut command = Command::new(filled.next().unwrap_or_default());
    let output = File::create(folder.join("output")).map_err(failed)?;
    command.args(filled).current_dir(&folder).process_group(0).stdin(Stdio::null());
    command.stderr(output.try_clone().map_err(failed)?).stdout(output);
    let child = command.spawn().map_err(failed)?;
    let mut server = Server { child, folder, port };
    server.ready(words)?;
    Ok(server)
}

impl Server {
    fn ready(&mut self, words: &[String]) -> Result {
        let (address, since) = (SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), Instant::now());
        while TcpStream::connect(address).is_err() {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || since.elapsed() > PATIENCE {
                let how = ended.map_or("it accepts no connection".to_owned(), |status| status.to_string());
                let said = fs::read_to_string(self.folder.join("output")).unwrap_or_default();
                return Err(format!("start {}: {how}\n{}", words.join(" "), said.trim()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop_group(self.child.id());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perl(script: &str) -> Vec<String> {
        ["perl", "-MIO::Socket::INET", "-e", script, "{port}"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_server_listens_until_it_is_dropped_and_leaves_no_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let listens = "my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => shift); sleep 100";
        let server = start(&perl(listens), folder.path()).expect("it starts");
        let address = (Ipv4Addr::LOCALHOST, server.port);
        assert!(TcpStream::connect(address).is_ok());
        drop(server);
        assert!(TcpStream::connect(address).is_err(), "it was stopped");
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn a_server_that_does_not_start_tells_what_it_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = start(&perl("die 'no disk'"), folder.path()).err().expect("it dies");
        assert!(said.contains("no disk"), "{said}");
    }
}
