//! Every piece of `haul.toml` in the documentation is read and opened as `haul validate` does it: nothing is connected to.
#![cfg(feature = "full")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use haul::config::{Config, Environment, Profile};
use haul::serve::{Gateway, Route, ServeOptions};
use haul::{ErrorKind, Result};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The pages in a folder and those below it.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(folder).expect("docs are there") {
        let path = entry.expect("it is read").path();
        match path.is_dir() {
            true => pages.extend(self::pages(&path)),
            false if path.extension().is_some_and(|kind| kind == "md") => pages.push(path),
            false => {}
        }
    }
    pages
}

/// The blocks of TOML in a text.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default())
}

/// Each block of the documentation, and where it stands.
fn configurations() -> Vec<(String, String)> {
    let read =
        |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let mut found = Vec::new();
    for page in pages(&docs()) {
        let name = page.strip_prefix(docs()).expect("it is below").display().to_string();
        found.extend(blocks(&read(&page)).map(|block| (name.clone(), block.to_owned())));
    }
    let module = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/mod.rs"));
    let lines: Vec<_> = module.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let text = lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
    found.extend(blocks(&text).map(|block| ("the module config".to_owned(), block.to_owned())));
    found
}

/// A folder with the files that the documentation names, and the text that names them there.
fn at_home(text: &str, folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let etc = folder.join("etc");
    std::fs::create_dir_all(&etc).expect("a folder");
    for (name, content) in [
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
        ("outbox.key", "7".repeat(64)),
    ] {
        std::fs::write(etc.join(name), content).expect("it is written");
    }
    let folder = folder.to_str().expect("it is UTF-8");
    text.replace("/etc/haul", &format!("{folder}/etc"))
        .replace("/var/lib/haul", folder)
        .replace("/var/log/haul", folder)
}

/// What `haul validate` says of it, with each profile.
async fn check(text: &str) -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let text = at_home(text, folder.path());
    let names = text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap_or_default());
    let environment: Environment = names.map(|name| (name, "secret")).collect();
    for profile in Profile::ALL {
        let Config { serve, routes, events, .. } =
            Config::parse(&text, "haul.toml", Some(profile), &environment)?;
        let mut options = ServeOptions::new(folder.path().join("data"));
        (options.listen, options.log) = (serve.listen, events);
        (options.guard.origins, options.guard.tokens) = (serve.origins, serve.tokens);
        for route in routes {
            let (name, made_of, delivered) = (route.name.clone(), route.made_of(), route.sink_options());
            let open = move |panel| {
                let route = route.clone();
                async move { route.open(&haul::registry(), &panel).await }
            };
            options = options.route(Route::new(name, made_of, open).options(delivered));
        }
        Gateway::check(&options, &haul::registry()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_configuration_of_the_documentation_is_valid() {
    let found = configurations();
    for (place, text) in &found {
        check(text).await.unwrap_or_else(|why| panic!("{place}: {why}\n{text}"));
    }
    let places: BTreeSet<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
    for place in [
        "guides/gateway.md",
        "guides/outbox.md",
        "guides/scale-out.md",
        "guides/stacks.md",
        "the module config",
    ] {
        assert!(places.contains(place), "no configuration was found in {place}: {places:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_a_mistake_in_a_key_a_url_or_a_layer_is_not() {
    for (right, wrong) in
        [("sink = ", "snik = "), ("sink = \"", "sink = \"x"), ("{ type = \"", "{ type = \"x")]
    {
        let mut tried = 0;
        for (place, text) in configurations().iter().filter(|(_, text)| text.contains(right)) {
            let why = check(&text.replace(right, wrong)).await.expect_err("it should be refused");
            assert!(matches!(why.kind(), ErrorKind::Config | ErrorKind::Unsupported), "{place}: {why}");
            tried += 1;
        }
        assert!(tried > 1, "{right} is in {tried}");
    }
}
