//! A network namespace beside the machine's own, with a wire between them and rules of nftables.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Networks of four addresses in 198.18.0.0/15, which is set aside for tests of networks (RFC 2544).
const NETWORKS: u32 = 1 << 15;

/// A network namespace that is there as long as this is: with its own loopback, and a wire (a pair of virtual Ethernet
/// devices) to the machine's own network.
///
/// What drops packets stands on the namespace's side, for what comes in and what goes out, loopback included.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    outside: Ipv4Addr,
    inside: Ipv4Addr,
}

impl Namespace {
    /// A namespace of its own; `None`, after saying what did not run, without root, `ip` or `nft`.
    ///
    /// # Panics
    /// When the kernel refuses it for any other reason.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            haul_services::not_run("network-namespaces", "needs root");
            return None;
        }
        haul_services::iproute()?;
        haul_services::nftables()?;
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 4 * ((process * 8 + count) % NETWORKS);
        let [outside, inside] = [first + 1, first + 2].map(Ipv4Addr::from);
        let (near, far) = (format!("hn{process}-{count}"), format!("hf{process}-{count}"));
        let namespace = Self { name: format!("haul-{process}-{count}"), outside, inside };
        let name = namespace.name.as_str();
        ip(&["netns", "add", name]);
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", name]);
        ip(&["address", "add", &format!("{outside}/30"), "dev", &near]);
        ip(&["link", "set", &near, "up"]);
        for (action, what) in
            [("address", format!("add {inside}/30 dev {far}")), ("link", format!("set {far} up"))]
        {
            let words: Vec<&str> = ["-netns", name, action].into_iter().chain(what.split(' ')).collect();
            ip(&words);
        }
        ip(&["-netns", name, "link", "set", "lo", "up"]);
        Some(namespace)
    }

    /// The end of the wire outside.
    pub fn outside(&self) -> Ipv4Addr {
        self.outside
    }

    /// The end of the wire inside.
    pub fn inside(&self) -> Ipv4Addr {
        self.inside
    }

    /// Drops all UDP.
    pub fn drop_udp(&self) {
        self.refuse("meta l4proto udp drop");
    }

    /// Drops so many of a hundred packets, by chance, each way.
    pub fn lose(&self, percent: u32) {
        self.refuse(&format!("numgen random mod 100 < {percent} drop"));
    }

    /// Lets UDP through, and answers all TCP with a reset.
    pub fn reset_tcp(&self) {
        self.refuse("meta l4proto tcp reject with tcp reset");
    }

    /// Drops nothing any more.
    pub fn heal(&self) {
        self.nft("flush ruleset\n");
    }

    /// What runs `program` inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `work` on a thread inside. Sockets that it opens are the namespace's, also by a runtime of tokio that it makes
    /// with `new_current_thread`.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let place = File::open(format!("/run/netns/{}", self.name)).expect("ip made it");
        std::thread::spawn(move || {
            move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
            work()
        })
    }

    fn refuse(&self, what: &str) {
        let mut rules = String::from("flush ruleset\nadd table inet haul\n");
        for hook in ["input", "output"] {
            rules += &format!(
                "add chain inet haul {hook} {{ type filter hook {hook} priority 0; }}\n\
                 add rule inet haul {hook} {what}\n"
            );
        }
        self.nft(&rules);
    }

    /// Gives nftables a script, which it takes whole or not at all.
    fn nft(&self, script: &str) {
        let mut nft =
            self.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft is here");
        let mut stdin = nft.stdin.take().expect("it is piped");
        stdin.write_all(script.as_bytes()).expect("nft reads");
        drop(stdin);
        let status = nft.wait().expect("it was started");
        assert!(status.success(), "nft: {status} for\n{script}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The wire goes with it. What was left behind is only told: another panic would hide the first.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("ip is here");
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
