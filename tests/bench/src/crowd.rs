//! Ten thousand connections from a second process to one listener.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use haul_core::{Connection, Endpoint, Packet};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::memory::{resident_kib, serve_echo};
use crate::parts::{self, Part};
use crate::peers::haul;
use crate::work::load::runtime;

/// Connections that are being opened, and echoes that are under way, at one time.
const AT_ONCE: usize = 128;
/// What takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(120);

/// A connection, and the number that it echoed.
type Echoed = (Connection, usize);

/// Serves echoes to `count` connections of a second process, which all stay open: the seconds from that process' start
/// until each has echoed twice, how many failed, and the resident KiB of this process for each.
pub(crate) fn serve(url: &str, count: usize) -> [f64; 3] {
    raise_file_limit();
    let runtime = runtime();
    let endpoint = runtime.block_on(async {
        let listener = haul::listen(url).await;
        let endpoint = listener.local_endpoint().to_string();
        tokio::spawn(serve_echo(listener));
        endpoint
    });
    let before = resident_kib();
    let begun = Instant::now();
    let mut clients = Part::start(&["crowd-clients", &endpoint, &count.to_string()]);
    let [failures] = clients.numbers();
    let seconds = begun.elapsed().as_secs_f64();
    let memory = (resident_kib() - before) / count as f64;
    clients.finish();
    runtime.shutdown_background();
    [seconds, failures, memory]
}

/// Opens the connections, echoes on each, and again on each once all are open; prints how many failed, and holds the
/// rest open until its input ends.
pub(crate) fn clients(url: &str, count: usize) {
    raise_file_limit();
    let endpoint = Endpoint::parse(url).expect("the listener's url");
    runtime().block_on(async {
        let dialed = each(0..count, |number| {
            let endpoint = endpoint.clone();
            async move { echoed(haul::try_dial(endpoint).await?, number).await }
        });
        let once = dialed.await;
        let twice = each(once, |(connection, number)| echoed(connection, count + number)).await;
        parts::print(&[(count - twice.len()) as f64]);
        let waited = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        waited.await.expect("it reads only").expect("the input is a pipe");
        drop(twice);
    });
}

/// Does the work with all items, some at one time, each within the deadline: what came of those that succeeded.
async fn each<T, F>(items: impl IntoIterator<Item = T>, work: impl Fn(T) -> F) -> Vec<Echoed>
where
    F: Future<Output = Option<Echoed>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for item in items {
        let permit = room.clone().acquire_owned().await.expect("it is never closed");
        let work = tokio::time::timeout(DEADLINE, work(item));
        tasks.spawn(async move {
            let _permit = permit;
            work.await.ok().flatten()
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// Echoes one packet that no other connection sends, and answers the connection and the number if it came back as it was.
async fn echoed(mut connection: Connection, number: usize) -> Option<Echoed> {
    let text = format!("{number:064}");
    connection.send(Packet::text(text.clone())).await.ok()?;
    let packet = connection.recv().await.ok()??;
    (packet.payload() == text.as_bytes()).then_some((connection, number))
}

/// As many open files as the system lets this process have.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).expect("a process may raise its limit to its maximum");
}
