//! A queue at the server: found by its name on first use.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Config;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    SendMessageBatchRequestEntry,
};
use haul_aws::Account;
use haul_core::{Error, ErrorKind, Result, Sent, Status};
use tokio::sync::OnceCell;

use crate::failure::{failed, refused};

/// A queue, and what it is asked.
pub(crate) struct Queue {
    account: Account,
    name: String,
    owner: Option<String>,
    deed: &'static str,
    client: OnceCell<Client>,
    url: OnceCell<String>,
}

/// What becomes of a message that was received.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    /// It is deleted.
    Delete,
    /// It is given to whoever asks, at once.
    Show,
    /// It is given to nobody else for so long.
    Hide(Duration),
}

impl Queue {
    /// Messages of a request.
    pub(crate) const AT_ONCE: usize = 10;

    /// The queue of this name; `deed` says in errors what is done there.
    pub(crate) fn new(account: Account, name: &str, owner: Option<String>, deed: &'static str) -> Self {
        let (client, url) = (OnceCell::new(), OnceCell::new());
        Self { account, name: name.to_owned(), owner, deed, client, url }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("{} sqs {}", self.deed, self.name))
    }

    async fn client(&self) -> Result<&Client> {
        let made = self.client.get_or_try_init(|| async {
            let config = self.account.raw().await?;
            Ok(Client::new(&config))
        });
        made.await.map_err(|why| self.doing(why))
    }

    /// Asks where the queue is. Errors: `NotFound`, `Unauthorized`, `Connect`.
    pub(crate) async fn find(&self) -> Result<String> {
        let asked = self.client().await?.get_queue_url().queue_name(&self.name);
        let found = asked.set_queue_owner_aws_account_id(self.owner.clone()).send().await;
        let found = found.map_err(|why| self.doing(failed(why)))?;
        let nowhere = || self.doing(Error::new(ErrorKind::Protocol, "the answer names no URL"));
        found.queue_url.ok_or_else(nowhere)
    }

    async fn client_and_url(&self) -> Result<(&Client, &str)> {
        let url = match self.url.get() {
            Some(url) => url,
            None => {
                // Each asks for itself: in turn, they would wait for one another where the server is silent. Nothing of what
                // is asked later was sent.
                let found = self.find().await.map_err(|why| why.with_sent(Sent::No))?;
                self.url.get_or_init(|| std::future::ready(found)).await
            }
        };
        Ok((self.client().await?, url))
    }

    /// Sends messages, at most [`Self::AT_ONCE`], that are numbered from 0; answers their ids at the server.
    pub(crate) async fn send(&self, entries: Vec<SendMessageBatchRequestEntry>) -> Vec<Result<String>> {
        let count = entries.len();
        if count == 0 {
            return Vec::new();
        }
        let (client, url) = match self.client_and_url().await {
            Ok(found) => found,
            Err(why) => return vec![Err(why); count],
        };
        match client.send_message_batch().queue_url(url).set_entries(Some(entries)).send().await {
            Ok(answer) => {
                let good = answer.successful.into_iter().map(|good| (good.id, good.message_id));
                self.answers(count, good, &answer.failed)
            }
            Err(why) => vec![Err(self.doing(failed(why))); count],
        }
    }

    /// Receives at most so many messages.
    pub(crate) async fn receive(
        &self,
        most: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>> {
        let (client, url) = self.client_and_url().await?;
        // The server may think for `wait`, which is none of its lateness.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.account.connect_timeout)
            .operation_timeout(self.account.timeout + wait);
        let asked = client
            .receive_message()
            .queue_url(url)
            .message_attribute_names("All")
            .max_number_of_messages(most as i32)
            .visibility_timeout(visibility.as_secs() as i32)
            .wait_time_seconds(wait.as_secs() as i32)
            .customize()
            .config_override(Config::builder().timeout_config(timeouts.build()));
        let answer = asked.send().await.map_err(|why| self.doing(failed(why)))?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Says what becomes of these messages, at most [`Self::AT_ONCE`].
    pub(crate) async fn change(&self, change: Change, handles: &[String]) -> Vec<Result<()>> {
        let count = handles.len();
        let (client, url) = match self.client_and_url().await {
            Ok(found) => found,
            Err(why) => return vec![Err(why); count],
        };
        let numbered = handles.iter().enumerate().map(|(number, handle)| (number.to_string(), handle));
        let visible_in = match change {
            Change::Delete => {
                let entries = numbered.map(|(number, handle)| {
                    let entry = DeleteMessageBatchRequestEntry::builder().id(number).receipt_handle(handle);
                    entry.build().expect("it has an id and a handle")
                });
                let asked = client.delete_message_batch().queue_url(url).set_entries(Some(entries.collect()));
                return match asked.send().await {
                    Ok(answer) => {
                        let good = answer.successful.into_iter().map(|good| (good.id, ()));
                        self.answers(count, good, &answer.failed)
                    }
                    Err(why) => vec![Err(self.doing(failed(why))); count],
                };
            }
            Change::Show => 0,
            Change::Hide(time) => time.as_secs() as i32,
        };
        let entries = numbered.map(|(number, handle)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(number).receipt_handle(handle);
            entry.visibility_timeout(visible_in).build().expect("it has an id and a handle")
        });
        let asked = client.change_message_visibility_batch().queue_url(url);
        match asked.set_entries(Some(entries.collect())).send().await {
            Ok(answer) => {
                self.answers(count, answer.successful.into_iter().map(|good| (good.id, ())), &answer.failed)
            }
            Err(why) => vec![Err(self.doing(failed(why))); count],
        }
    }

    /// The answers of a request with `count` parts, in their order.
    fn answers<T>(
        &self,
        count: usize,
        good: impl Iterator<Item = (String, T)>,
        bad: &[BatchResultErrorEntry],
    ) -> Vec<Result<T>> {
        let silent = || {
            let why = Error::new(ErrorKind::Protocol, "the server did not say what became of it");
            why.with_status(Status::Transient)
        };
        let mut answers: Vec<_> = (0..count).map(|_| Err(self.doing(silent()))).collect();
        let bad = bad.iter().map(|bad| (bad.id(), Err(self.doing(refused(bad)))));
        let mut put = |number: &str, answer| {
            if let Some(place) = number.parse().ok().and_then(|number: usize| answers.get_mut(number)) {
                *place = answer;
            }
        };
        bad.for_each(|(number, answer)| put(number, answer));
        good.for_each(|(number, answer)| put(&number, Ok(answer)));
        answers
    }
}
