//! `haul outbox ls` and `haul outbox fsck`.

use haul::outbox::KeyInfo;
use serde_json::json;

use super::{Fsck, Ls, explained};
use crate::commands::data::{ago, rfc3339};
use crate::exit::{Code, Failure};
use crate::output::{Output, Paint, count, size};

pub(super) fn ls(args: &Ls, out: Output) -> Result<(), Failure> {
    let left = args.place.view()?.left().map_err(explained)?;
    if out.json {
        for info in &left.keys {
            out.object(&json!({
                "event": "key",
                "key": info.key,
                "packets": info.packets,
                "bytes": info.bytes,
                "first": info.first,
                "oldest": rfc3339(info.oldest),
            }))?;
        }
        return out.object(&json!({
            "event": "outbox",
            "packets": left.packets,
            "bytes": left.bytes,
            "oldest": left.oldest.map(rfc3339),
            "other_keys": left.others,
            "dead": left.dead,
            "disk": left.disk,
        }));
    }
    let row = |info: &KeyInfo| {
        let name = match info.key.as_str() {
            "" => "(no key)".to_owned(),
            key => key.escape_debug().to_string(),
        };
        let oldest = format!("oldest {}", ago(info.oldest));
        vec![name, count(info.packets, "packet"), size(info.bytes), format!("from {}", info.first), oldest]
    };
    out.table(&left.keys.iter().map(row).collect::<Vec<_>>())?;
    if left.others > 0 {
        out.remark(&format!("{} of keys that are not listed, or sealed", count(left.others, "packet")));
    }
    let oldest = left.oldest.map(|at| format!(", the oldest stored {}", ago(at))).unwrap_or_default();
    out.line(&format!(
        "{} waiting{oldest}; {}; {} on disk",
        count(left.packets, "packet"),
        count(left.dead, "dead letter"),
        size(left.disk)
    ))
}

pub(super) fn fsck(args: &Fsck, out: Output) -> Result<(), Failure> {
    let found = args.place.view()?.verify().map_err(explained)?;
    let unfinished =
        [&found.packets, &found.dead].into_iter().filter_map(|report| report.unfinished.as_ref());
    let unfinished: u64 = unfinished.map(|torn| torn.bytes).sum();
    if out.json {
        out.object(&json!({
            "event": "verified",
            "records": found.packets.records,
            "bytes": found.packets.bytes,
            "segments": found.packets.segments,
            "dead_records": found.dead.records,
            "sealed": found.unread,
            "unfinished": unfinished,
            "wrong": found.wrong,
        }))?;
    } else {
        let (records, files) =
            (count(found.packets.records, "record"), count(found.packets.segments, "file"));
        out.line(&format!(
            "{}: {records}, {} in {files}",
            args.place.dir.display(),
            size(found.packets.bytes)
        ))?;
        out.line(&format!("{} of dead letters", count(found.dead.records, "record")))?;
        if found.unread > 0 {
            out.remark(&format!("{} sealed: give the key to look into them", count(found.unread, "record")));
        }
        if unfinished > 0 {
            let what = "at the end are unfinished: being written, or cut off at the next start";
            out.remark(&format!("{} {what}", size(unfinished)));
        }
        for what in &found.wrong {
            out.line(&out.paint(Paint::Bad, &what.escape_debug().to_string()))?;
        }
    }
    match found.wrong.len() {
        0 => Ok(()),
        places => Err(Failure::new(Code::Failed, format!("{} damaged", count(places as u64, "place")))),
    }
}
