//! The client's errors in haul's words.

use std::error::Error as StdError;

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::BatchResultErrorEntry;
use haul_aws::raw;
use haul_core::{Error, ErrorKind, Sent, Status};

/// What went wrong with a request.
pub(crate) fn failed<E>(why: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    raw::failed(why, known)
}

/// Why the server refused one part of a request.
pub(crate) fn refused(part: &BatchResultErrorEntry) -> Error {
    let said = part.message().unwrap_or("it does not say why");
    let text = format!("the server refused it, {}: {said}", part.code());
    let (kind, status, sent) = match known(part.code()) {
        Some((kind, status)) => (kind, status, Sent::No),
        None if part.sender_fault() => (ErrorKind::Rejected, Status::Permanent, Sent::No),
        // It stumbled, nobody knows where.
        None => (ErrorKind::Overloaded, Status::Transient, Sent::Maybe),
    };
    Error::new(kind, text).with_status(status).with_sent(sent)
}

/// The codes that say more than their status does ("SendMessageBatch" of the API reference).
fn known(code: &str) -> Option<(ErrorKind, Status)> {
    let code = code.rsplit(['.', '#']).next().unwrap_or_default();
    Some(match code {
        "NonExistentQueue" | "QueueDoesNotExist" => (ErrorKind::NotFound, Status::Permanent),
        "RequestThrottled" | "TooManyRequestsException" | "OverLimit" | "KmsThrottled" => {
            (ErrorKind::RateLimited, Status::Transient)
        }
        "KmsAccessDenied" => (ErrorKind::Unauthorized, Status::Permanent),
        "BatchRequestTooLong" => (ErrorKind::TooLarge, Status::Permanent),
        _ => return raw::known(code),
    })
}
