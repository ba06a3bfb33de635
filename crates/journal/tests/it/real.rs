//! On a real directory.

use haul_core::{ErrorKind, Result};
use haul_journal::{Journal, Options, Retention, Seq, View};

use crate::{fill, numbers, read, small};

#[tokio::test]
async fn a_journal_in_a_directory_outlives_its_process() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("deep").join("log");
    let journal = Journal::open(&path, small())?;
    let cursor = journal.cursor("c").await?;
    fill(&journal, 1, 100).await;
    cursor.commit(Seq(60)).await?;
    journal.close().await?;

    let journal = Journal::open(&path, small())?;
    assert_eq!(numbers(&read(&journal, Seq(1)).await), (1..=100).collect::<Vec<_>>());
    let removed = journal.retain(Retention::default().max_bytes(4000)).await?;
    assert!(removed.segments > 0 && removed.first <= Seq(60));
    let view = View::open(&path)?;
    assert_eq!(view.first()?, Some(removed.first));
    assert_eq!(view.cursors()?, [("c".to_owned(), Seq(60))]);
    assert_eq!(view.verify()?.damage, []);
    assert_eq!(view.verify()?.records, 101 - removed.first.0);
    Ok(())
}

#[tokio::test]
async fn a_second_writer_is_refused_and_told_who_the_first_is() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let first = Journal::open(dir.path(), Options::default())?;
    first.append("it writes").await?;
    let error = Journal::open(dir.path(), Options::default()).expect_err("a second writer");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(text.contains(&dir.path().display().to_string()), "{text}");
    drop(first);
    drop(Journal::open(dir.path(), Options::default())?);
    Ok(())
}

#[tokio::test]
async fn closing_gives_the_lock_back_though_handles_are_left() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let first = Journal::open(dir.path(), Options::default())?;
    first.close().await?;
    let second = Journal::open(dir.path(), Options::default())?;
    assert_eq!(first.append("x").await.expect_err("a closed journal").kind(), ErrorKind::Closed);
    assert_eq!(second.append("x").await?, Seq(1));
    Ok(())
}

#[test]
fn a_view_of_nothing_is_an_error_and_makes_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("absent");
    let error = View::open(&path).err().expect("no such directory");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!path.exists());
    Ok(())
}

#[test]
fn a_file_in_the_place_of_the_directory_is_an_error() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    std::fs::write(&path, "x")?;
    let error = Journal::open(&path, Options::default()).expect_err("a file");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("file"), "{error}");
    Ok(())
}
