//! The table on the terminal and the page with charts.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use plotters::prelude::*;

use crate::work::{Bar, Outcome, Row};

/// Prints the table.
pub(crate) fn print(rows: &[Row]) {
    println!("{}", table(rows));
}

/// The table in Markdown.
fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| work | haul | peer | ratio (90 %) | bar | CPU/packet, haul : peer | |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let (limit, sign) = match row.bar {
            Bar::AtLeast(bar) => (bar, "≥ "),
            Bar::AtMost(bar) => (bar, "≤ "),
            Bar::Reported => (0.0, ""),
        };
        let verdict = match row.bar {
            Bar::Reported => "reported",
            _ if row.met() => "met",
            _ => "**short**",
        };
        let name = match row.note.as_str() {
            "" => row.name.clone(),
            note => format!("{} ({note})", row.name),
        };
        let line = match &row.result {
            Outcome::Against(ratio) => format!(
                "| {name} | {} | {} | {:.2} ({:.2}–{:.2}) | {sign}{limit} | {} : {} | {verdict} |",
                show(ratio.haul, row.unit),
                show(ratio.peer, row.unit),
                ratio.median,
                ratio.low,
                ratio.high,
                show(ratio.haul_cpu, "s"),
                show(ratio.peer_cpu, "s"),
            ),
            Outcome::Alone(figure) => {
                let bar = match (row.bar, row.unit) {
                    (Bar::Reported, _) => String::new(),
                    (_, "failures" | "allocations") => format!("{sign}{limit}"),
                    (_, unit) => format!("{sign}{limit} {unit}"),
                };
                format!("| {name} | {} | | | {bar} | | {verdict} |", show(*figure, row.unit))
            }
        };
        let _ = writeln!(text, "{line}");
    }
    text
}

/// A figure as people read it. Numbers alone are those whose unit the name of the row says.
fn show(value: f64, unit: &str) -> String {
    match unit {
        "s" if value >= 1.0 => format!("{value:.2} s"),
        "s" if value >= 1e-3 => format!("{:.2} ms", value * 1e3),
        "s" => format!("{:.2} µs", value * 1e6),
        "ns" => format!("{value:.0} ns"),
        "KiB" => format!("{value:.1} KiB"),
        "failures" => format!("{value:.0}"),
        "allocations" => format!("{value:.3}"),
        "round trips" => format!("{value:.2} {unit}"),
        _ if value >= 1e6 => format!("{:.2} M {unit}", value / 1e6),
        _ if value >= 1e3 => format!("{:.1} k {unit}", value / 1e3),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Writes `report.html`: the table, and for each ratio its pairs with median and bar.
pub(crate) fn write(rows: &[Row], folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut page = String::from(
        "<!doctype html><meta charset=utf-8><title>haul benchmarks</title><meta name=viewport content='width=device-width'>\
         <style>:root{color-scheme:light dark}body{font:14px system-ui;margin:2rem auto;max-width:82rem;padding:0 1rem}\
         table{border-collapse:collapse}td,th{padding:.25rem .6rem;border-bottom:1px solid #8884;text-align:left}\
         td+td,th+th{white-space:nowrap}.short{background:#d332}\
         .wide{overflow-x:auto}svg{background:#fff;max-width:100%;height:auto}</style><h1>haul benchmarks</h1>",
    );
    page.push_str(&html_table(rows));
    for row in rows {
        if let Outcome::Against(..) = row.result {
            page.push_str(&chart(row).map_err(io::Error::other)?);
        }
    }
    let path = folder.join("report.html");
    std::fs::write(&path, page)?;
    eprintln!("report: {}", path.display());
    Ok(())
}

fn html_table(rows: &[Row]) -> String {
    let table = table(rows).replace("**", "");
    let mut lines = table.lines();
    let cells = |line: &str, tag: &str| {
        let class = if line.ends_with("short |") { " class=short" } else { "" };
        let cells = line.trim_matches('|').split('|').map(|cell| format!("<{tag}>{}</{tag}>", cell.trim()));
        format!("<tr{class}>{}</tr>", cells.collect::<String>())
    };
    let head = lines.next().map(|line| cells(line, "th")).unwrap_or_default();
    let body: String = lines.skip(1).map(|line| cells(line, "td")).collect();
    format!("<div class=wide><table>{head}{body}</table></div>")
}

fn chart(row: &Row) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let Outcome::Against(ratio) = &row.result else {
        return Ok(String::new());
    };
    let (Bar::AtLeast(bar) | Bar::AtMost(bar)) = row.bar else {
        return Ok(String::new());
    };
    let top = ratio.ratios.iter().copied().fold(bar, f64::max) * 1.15;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (760, 220)).into_drawing_area();
        let draw = || -> Result<(), Box<dyn std::error::Error>> {
            let mut chart = ChartBuilder::on(&area)
                .margin(12)
                .x_label_area_size(36)
                .y_label_area_size(44)
                .build_cartesian_2d(0f64..(ratio.ratios.len() + 1) as f64, 0f64..top)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .max_light_lines(0)
                .x_labels(ratio.ratios.len() + 2)
                .x_label_formatter(&|pair| format!("{pair:.0}"))
                .x_desc("pair")
                .y_desc("ratio")
                .draw()?;
            let width = (ratio.ratios.len() + 1) as f64;
            chart.draw_series(LineSeries::new([(0.0, bar), (width, bar)], RED))?;
            chart.draw_series(LineSeries::new([(0.0, ratio.median), (width, ratio.median)], BLUE))?;
            let points = ratio.ratios.iter().enumerate().map(|(pair, ratio)| ((pair + 1) as f64, *ratio));
            chart.draw_series(points.map(|point| Circle::new(point, 4, BLUE.filled())))?;
            area.present()?;
            Ok(())
        };
        draw().map_err(|why| why.to_string())?;
    }
    Ok(format!("<h2>{}</h2><p>Points: ratio of each pair; blue: median; red: the bar.</p>{svg}", row.name))
}
