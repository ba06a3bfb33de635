//! Answers to messages, as many in one request as there are.

use std::sync::Arc;

use haul_core::{BoxFuture, Error, ErrorKind, Receipt, Result, Settle};
use tokio::sync::{mpsc, oneshot};

use crate::queue::{Change, Queue};
use crate::source::Held;

/// What becomes of a message.
pub(crate) struct Word {
    held: Held,
    change: Change,
    told: Option<oneshot::Sender<Result<()>>>,
}

/// Tells the server what becomes of messages, until nobody is left who could say more.
pub(crate) async fn settle(queue: Arc<Queue>, mut words: mpsc::Receiver<Word>) {
    let mut some = Vec::new();
    while words.recv_many(&mut some, Queue::AT_ONCE).await > 0 {
        let (deletes, others): (Vec<_>, Vec<_>) =
            some.drain(..).partition(|word| matches!(word.change, Change::Delete));
        for words in [deletes, others].into_iter().filter(|words| !words.is_empty()) {
            let handles: Vec<_> = words.iter().map(|word| word.held.handle().to_owned()).collect();
            let answers = queue.change(words[0].change, &handles).await;
            for (word, answer) in words.into_iter().zip(answers) {
                drop(word.held);
                if let Some(told) = word.told {
                    // Whoever gave up waiting has it given again, or has not.
                    let _ = told.send(answer);
                }
            }
        }
    }
}

/// The answer to a message that was given.
pub(crate) struct Answer {
    pub(crate) held: Held,
    pub(crate) words: mpsc::Sender<Word>,
}

impl Settle for Answer {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let Self { mut held, words } = *self;
            let (told, answer) = oneshot::channel();
            let delete = outcome.is_ok();
            let change = if delete { Change::Delete } else { Change::Show };
            if !delete {
                held.let_go();
            }
            let gone = || Error::new(ErrorKind::Closed, "the source's task is gone");
            let asked = words.send(Word { held, change, told: Some(told) }).await;
            let answer = match asked {
                Ok(()) => answer.await.unwrap_or_else(|_| Err(gone())),
                Err(_) => Err(gone()),
            };
            match answer {
                // What cannot be shown now is shown when its time is over.
                Err(why) if delete => {
                    let again = "not deleted from the queue, which gives it again";
                    Err(Error::new(ErrorKind::Closed, again).with_source(why))
                }
                _ => Ok(()),
            }
        })
    }

    fn dropped(self: Box<Self>) {
        let Self { mut held, words } = *self;
        held.let_go();
        // There is room for all that are held; without its task the server gives it again in time.
        let _ = words.try_send(Word { held, change: Change::Show, told: None });
    }
}
