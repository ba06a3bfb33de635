#![doc = include_str!("../README.md")]

use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

/// The `haul` program: what `HAUL_PROGRAM` names, or else built once by cargo.
///
/// # Panics
/// When it cannot be built.
pub fn haul() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let given = || variable("HAUL_PROGRAM").map(PathBuf::from);
    PROGRAM.get_or_init(|| given().unwrap_or_else(build)).clone()
}

fn build() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/<test>: the program is two folders up.
    let folder = test.ancestors().nth(2).expect("tests are built under deps");
    let mut cargo = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "haul-cli", "--bin", "haul"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "cargo build --package haul-cli: {status}");
    folder.join("haul")
}

/// How long a test named `soak_*` runs, or `None`, after saying so, where no soak was asked for.
pub fn soak() -> Option<Duration> {
    let minutes = number("HAUL_SOAK_MINUTES");
    if minutes.is_none() {
        not_run("soak", "it runs in `cargo xtask soak`");
    }
    minutes.map(|minutes| Duration::from_secs(60 * minutes))
}

/// How often a crash test kills what it tests.
pub fn kills() -> u64 {
    number("HAUL_KILLS").unwrap_or(5)
}

/// How many random histories or faults to try: what the run asks for, or else `usual`.
pub fn histories(usual: u64) -> u64 {
    number("HAUL_HISTORIES").unwrap_or(usual)
}

/// How long each test of random fault schedules goes on, or `None` where it tries a number of them: `cargo xtask soak`, and
/// continuous integration, give a time.
pub fn fault_time() -> Option<Duration> {
    number("HAUL_FAULT_SECONDS").map(Duration::from_secs)
}

/// The seed of random histories: what the run asks for, or else `usual`.
pub fn seed(usual: u64) -> u64 {
    number("HAUL_SEED").unwrap_or(usual)
}

fn number(name: &str) -> Option<u64> {
    let text = variable(name)?;
    let read = text.parse();
    Some(read.unwrap_or_else(|why| panic!("{name}={text}: {why}")))
}

/// Python with the package `websockets`, or `None` after saying what did not run.
pub fn python_websockets() -> Option<Command> {
    found("python-websockets", "HAUL_PYTHON")
}

/// The program `redis-server`, or `None` after saying what did not run.
pub fn redis_server() -> Option<Command> {
    found("redis", "HAUL_REDIS_SERVER")
}

/// The program `mosquitto`, a broker, or `None` after saying what did not run.
pub fn mosquitto() -> Option<Command> {
    found("mosquitto", "HAUL_MOSQUITTO")
}

/// The program `mosquitto_sub`, or `None` after saying what did not run.
pub fn mosquitto_sub() -> Option<Command> {
    found("mosquitto-clients", "HAUL_MOSQUITTO_SUB")
}

/// The program `mosquitto_pub`, or `None` after saying what did not run.
pub fn mosquitto_pub() -> Option<Command> {
    found("mosquitto-clients", "HAUL_MOSQUITTO_PUB")
}

/// The program `nats-server`, or `None` after saying what did not run.
pub fn nats_server() -> Option<Command> {
    found("nats", "HAUL_NATS_SERVER")
}

/// Python with the package `nats`, or `None` after saying what did not run.
pub fn python_nats() -> Option<Command> {
    found("python-nats", "HAUL_PYTHON_NATS")
}

/// A program of PostgreSQL's, such as `initdb`, `postgres` or `psql`, that works in `folder`; `None` after saying what did not
/// run. The server refuses root: started by root, it runs as the user `postgres`, who is given the folder the first time.
///
/// # Panics
/// When the folder cannot be given.
pub fn postgres(program: &str, folder: &Path) -> Option<Command> {
    let versions = found("postgresql", "HAUL_POSTGRESQL")?;
    let versions = fs::read_dir(versions.get_program()).into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|version| version.path()).max_by_key(number)?;
    let program = newest.join("bin").join(program);
    let of_root = |path: &Path| fs::metadata(path).is_ok_and(|file| file.uid() == 0);
    let mut command = match of_root(Path::new("/proc/self")) {
        false => Command::new(program),
        true => {
            // Once: a server that runs makes and removes files in it.
            if of_root(folder) {
                let given = Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder).status();
                assert!(given.is_ok_and(|status| status.success()), "chown {}", folder.display());
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        }
    };
    command.current_dir(folder);
    Some(command)
}

/// The program `rabbitmq-server`, or `None` after saying what did not run.
pub fn rabbitmq_server() -> Option<Command> {
    found("rabbitmq", "HAUL_RABBITMQ_SERVER")
}

/// Python with the package `pika`, or `None` after saying what did not run.
pub fn python_pika() -> Option<Command> {
    found("python-pika", "HAUL_PYTHON_PIKA")
}

/// Java with Apache Kafka on its class path, in little memory, or `None` after saying what did not run. Its programs are
/// `kafka.tools.StorageTool` and `kafka.Kafka`.
pub fn kafka() -> Option<Command> {
    let jars = found("kafka", "HAUL_KAFKA_JARS")?;
    let mut java = Command::new("java");
    java.args(["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    java.arg(jars.get_program());
    Some(java)
}

/// The program `ferretdb`, which speaks as MongoDB does, or `None` after saying what did not run.
pub fn ferretdb() -> Option<Command> {
    found("ferretdb", "HAUL_FERRETDB")
}

/// Python with the package `pymongo`, or `None` after saying what did not run.
pub fn python_pymongo() -> Option<Command> {
    found("python-pymongo", "HAUL_PYTHON_PYMONGO")
}

/// The program `kcat`, or `None` after saying what did not run.
pub fn kcat() -> Option<Command> {
    found("kcat", "HAUL_KCAT")
}

/// Python with the packages `moto` and `boto3`, or `None` after saying what did not run.
pub fn moto() -> Option<Command> {
    found("moto", "HAUL_PYTHON_MOTO")
}

/// Node.js, with the package `ws` where `require` finds it, or `None` after saying what did not run.
pub fn npm_ws() -> Option<Command> {
    let mut node = found("npm-ws", "HAUL_NODE")?;
    node.env("NODE_PATH", variable("HAUL_NODE_MODULES")?);
    Some(node)
}

/// Node.js, with the package `eventsource` where `require` finds it, or `None` after saying what did not run.
pub fn npm_eventsource() -> Option<Command> {
    let mut node = found("npm-eventsource", "HAUL_NODE_EVENTSOURCE")?;
    node.env("NODE_PATH", variable("HAUL_NODE_MODULES")?);
    Some(node)
}

/// Node.js with the package `playwright-core` where `require` finds it and Chromium as `HAUL_CHROMIUM`, or `None` after
/// saying what did not run.
pub fn chromium() -> Option<Command> {
    found("chromium", "HAUL_CHROMIUM")?;
    let mut node = found("npm-playwright-core", "HAUL_NODE_PLAYWRIGHT")?;
    node.env("NODE_PATH", variable("HAUL_NODE_MODULES")?);
    Some(node)
}

/// Node.js with the package `puppeteer-core` where `require` finds it and Firefox as `HAUL_FIREFOX`, or `None` after
/// saying what did not run.
pub fn firefox() -> Option<Command> {
    found("firefox", "HAUL_FIREFOX")?;
    let mut node = found("npm-puppeteer-core", "HAUL_NODE_PUPPETEER")?;
    node.env("NODE_PATH", variable("HAUL_NODE_MODULES")?);
    Some(node)
}

/// The TypeScript compiler, or `None` after saying what did not run.
pub fn typescript() -> Option<Command> {
    let mut tsc = found("npm-typescript", "HAUL_NODE_TYPESCRIPT")?;
    tsc.arg(PathBuf::from(variable("HAUL_NODE_MODULES")?).join("typescript/bin/tsc"));
    Some(tsc)
}

/// Node.js alone, or `None` after saying what did not run.
pub fn node() -> Option<Command> {
    found("npm-ws", "HAUL_NODE")
}

/// curl, with HTTP/2, or `None` after saying what did not run.
pub fn curl() -> Option<Command> {
    found("curl", "HAUL_CURL")
}

/// Python with the package `aiohttp`, or `None` after saying what did not run.
pub fn python_aiohttp() -> Option<Command> {
    found("python-aiohttp", "HAUL_PYTHON_AIOHTTP")
}

/// Python with the packages `httpx` and `h2`, or `None` after saying what did not run.
pub fn python_httpx() -> Option<Command> {
    found("python-httpx", "HAUL_PYTHON_HTTPX")
}

/// Python with the package `aioquic`, or `None` after saying what did not run.
pub fn python_aioquic() -> Option<Command> {
    found("python-aioquic", "HAUL_PYTHON_AIOQUIC")
}

/// tinyproxy, or `None` after saying what did not run.
pub fn tinyproxy() -> Option<Command> {
    found("tinyproxy", "HAUL_TINYPROXY")
}

/// nginx, or `None` after saying what did not run.
pub fn nginx() -> Option<Command> {
    found("nginx", "HAUL_NGINX")
}

/// The program `ip`, or `None` after saying what did not run.
pub fn iproute() -> Option<Command> {
    found("iproute2", "HAUL_IP")
}

/// The program `nft`, or `None` after saying what did not run.
pub fn nftables() -> Option<Command> {
    found("nftables", "HAUL_NFT")
}

/// OpenBSD netcat, or `None` after saying what did not run.
pub fn nc() -> Option<Command> {
    found("nc", "HAUL_NC")
}

/// The openssl program, or `None` after saying what did not run.
pub fn openssl() -> Option<Command> {
    found("openssl", "HAUL_OPENSSL")
}

/// Says that the calling test did not run what it is for; `cargo xtask test` lists it.
///
/// `name` is the missing thing, `why` one line. The line goes past the capture of the test runner, which hides what a
/// passing test prints.
pub fn not_run(name: &str, why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("not run: {name}: {why} ({test})\n");
    // A closed stderr leaves nobody to tell.
    drop(io::stderr().write_all(line.as_bytes()));
}

fn found(name: &str, program: &str) -> Option<Command> {
    let Some(path) = variable(program) else {
        not_run(name, &format!("{program} is not set; `cargo xtask test` sets it where {name} is installed"));
        return None;
    };
    Some(Command::new(path))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
