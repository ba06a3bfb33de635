//! A log group at the server.

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::{InputLogEvent, RejectedLogEventsInfo};
use haul_aws::Account;
use haul_core::{Error, ErrorKind, Result, Sent, Status};
use tokio::sync::OnceCell;

use crate::event::Event;
use crate::failure::failed;

/// A log group, and what it is asked.
pub(crate) struct Group {
    account: Account,
    name: String,
    create: bool,
    client: OnceCell<Client>,
}

impl Group {
    pub(crate) fn new(account: Account, name: &str, create: bool) -> Self {
        Self { account, name: name.to_owned(), create, client: OnceCell::new() }
    }

    pub(crate) fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("deliver to cloudwatch {}", self.name))
    }

    async fn client(&self) -> Result<&Client> {
        let made = self.client.get_or_try_init(|| async {
            let config = self.account.raw().await?;
            Ok(Client::new(&config))
        });
        made.await.map_err(|why| self.doing(why))
    }

    /// Asks for the group, and makes it where it is missing and may be made.
    pub(crate) async fn find(&self) -> Result<()> {
        let asked = self.client().await?.describe_log_streams().log_group_name(&self.name).limit(1);
        match asked.send().await.map_err(|why| self.doing(failed(why))) {
            Err(why) if why.kind() == ErrorKind::NotFound && self.create => self.make().await,
            found => found.map(drop),
        }
    }

    async fn make(&self) -> Result<()> {
        let made = self.client().await?.create_log_group().log_group_name(&self.name).send().await;
        unless_there(made).map_err(|why| self.doing(why))
    }

    async fn make_stream(&self, stream: &str) -> Result<()> {
        let make = || async {
            let asked = self.client().await?.create_log_stream().log_group_name(&self.name);
            unless_there(asked.log_stream_name(stream).send().await).map_err(|why| self.doing(why))
        };
        match make().await {
            Err(why) if why.kind() == ErrorKind::NotFound => {
                self.make().await?;
                make().await
            }
            made => made,
        }
    }

    /// Puts the events of one request into a stream; answers the outcome of each.
    pub(crate) async fn put(&self, stream: &str, events: &[Event]) -> Vec<Result<()>> {
        let put = match self.try_put(stream, events).await {
            // Nothing of it was taken.
            Err(why) if why.kind() == ErrorKind::NotFound && self.create => {
                let put = match self.make_stream(stream).await {
                    Ok(()) => self.try_put(stream, events).await,
                    Err(why) => Err(why.with_sent(Sent::No)),
                };
                put.map_err(|why| match why.kind() {
                    // What was made a moment ago is not known everywhere yet.
                    ErrorKind::NotFound => why.with_status(Status::Transient),
                    _ => why,
                })
            }
            put => put,
        };
        match put {
            Ok(rejected) => (0..events.len()).map(|place| self.answer(place, rejected.as_ref())).collect(),
            Err(why) => vec![Err(why); events.len()],
        }
    }

    async fn try_put(&self, stream: &str, events: &[Event]) -> Result<Option<RejectedLogEventsInfo>> {
        let events = events.iter().map(|event| {
            let event = InputLogEvent::builder().timestamp(event.time).message(&event.message);
            event.build().expect("it has a time and a message")
        });
        let asked = self.client().await?.put_log_events().log_group_name(&self.name).log_stream_name(stream);
        let answer = asked.set_log_events(Some(events.collect())).send().await;
        let answer = answer.map_err(|why| self.doing(failed(why)).with("stream", stream))?;
        Ok(answer.rejected_log_events_info)
    }

    /// What became of the event at `place`. Of those that are too old and of those that are expired the server says where
    /// they end, of those that are too new where they begin ("RejectedLogEventsInfo", API reference).
    fn answer(&self, place: usize, rejected: Option<&RejectedLogEventsInfo>) -> Result<()> {
        let Some(rejected) = rejected else { return Ok(()) };
        let at = |index: Option<i32>| index.and_then(|index| usize::try_from(index).ok());
        let why = match place {
            _ if at(rejected.too_old_log_event_end_index).is_some_and(|end| place < end) => "too old",
            _ if at(rejected.too_new_log_event_start_index).is_some_and(|start| place >= start) => "too new",
            // Whether the one at the index is meant is not said: nothing is called stored that may not be.
            _ if at(rejected.expired_log_event_end_index).is_some_and(|end| place <= end) => {
                "older than the group keeps events"
            }
            _ => return Ok(()),
        };
        let error = Error::new(ErrorKind::Rejected, format!("the server refused the event: it is {why}"));
        Err(self.doing(error.with_sent(Sent::No)))
    }
}

/// What another made meanwhile serves as well.
fn unless_there<T, E>(
    made: Result<T, SdkError<E, aws_sdk_cloudwatchlogs::config::http::HttpResponse>>,
) -> Result<()>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match made {
        Err(SdkError::ServiceError(why)) if why.err().code() == Some("ResourceAlreadyExistsException") => {
            Ok(())
        }
        made => made.map(drop).map_err(failed),
    }
}
