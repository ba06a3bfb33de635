//! `haul docs markdown`: docs/cli.md, made from the same definitions as the help.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use crate::args::{Cli, Docs, DocsFormat};
use crate::exit::{self, Failure};
use crate::output::Output;

pub(crate) fn run(args: &Docs, out: Output) -> Result<(), Failure> {
    match args.format {
        DocsFormat::Markdown => out.bytes(markdown().as_bytes()),
    }
}

fn markdown() -> String {
    let mut command = Cli::command();
    command.build();
    let mut text =
        String::from("# The command line\n\n<!-- Made by `haul docs markdown`; do not edit. -->\n\n");
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "{about}\n");
    text.push_str("## Options of every command\n\n");
    arguments(&mut text, command.get_arguments().filter(|arg| arg.is_global_set()));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        section(&mut text, sub);
    }
    text.push_str("## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in exit::TABLE {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    text
}

fn section(text: &mut String, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let usage = usage.trim_start_matches("Usage: ");
    let _ = writeln!(text, "## haul {}\n\n{about}\n\n```text\n{usage}\n```\n", command.get_name());
    let own = command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help");
    arguments(text, own);
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let about = sub.get_long_about().or(sub.get_about()).map(ToString::to_string).unwrap_or_default();
        let usage = sub.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let _ = writeln!(
            text,
            "### {}\n\n{about}\n\n```text\n{usage}\n```\n",
            sub.get_bin_name().unwrap_or_default()
        );
        let own = sub.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help");
        arguments(text, own);
    }
}

fn arguments<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let mut rows = arguments.filter(|arg| !arg.is_hide_set()).peekable();
    if rows.peek().is_none() {
        return;
    }
    text.push_str("| argument | meaning |\n|---|---|\n");
    for arg in rows {
        let _ = writeln!(text, "| `{}` | {} |", name(arg), meaning(arg));
    }
    text.push('\n');
}

fn name(arg: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let value = arg.get_value_names().and_then(|names| names.first());
    match (names.join(", "), value) {
        (names, Some(value)) if names.is_empty() => value.to_string(),
        (names, Some(value)) if arg.is_require_equals_set() => format!("{names}[={value}]"),
        (names, Some(value)) if arg.get_action().takes_values() => format!("{names} {value}"),
        (names, _) => names,
    }
}

fn meaning(arg: &Arg) -> String {
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
    let values: Vec<_> = arg.get_possible_values();
    if arg.get_action().takes_values() && !values.is_empty() && !values.iter().any(|v| v.get_name() == "true")
    {
        let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        let _ = write!(meaning, ": {}", values.join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(meaning, ". Default `{}`", defaults.join(" "));
    }
    meaning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_every_option_and_every_exit_code_is_there() {
        let text = markdown();
        for sub in Cli::command().get_subcommands().filter(|sub| !sub.is_hide_set()) {
            assert!(text.contains(&format!("## haul {}\n", sub.get_name())), "{}", sub.get_name());
            for long in sub.get_arguments().filter_map(Arg::get_long) {
                assert!(text.contains(&format!("--{long}")), "{long}");
            }
        }
        for (code, meaning) in exit::TABLE {
            assert!(text.contains(&format!("| {code} | {meaning} |")));
        }
    }
}
