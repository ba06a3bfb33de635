//! The client's errors in haul's words.

use std::error::Error as StdError;

use aws_sdk_cloudwatchlogs::config::http::HttpResponse;
use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use haul_aws::raw;
use haul_core::{Error, ErrorKind, Status};

/// What went wrong with a request.
pub(crate) fn failed<E>(why: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    raw::failed(why, known)
}

/// The codes that say more than their status does ("PutLogEvents" of the API reference).
fn known(code: &str) -> Option<(ErrorKind, Status)> {
    Some(match code {
        "ResourceNotFoundException" => (ErrorKind::NotFound, Status::Permanent),
        "LimitExceededException" => (ErrorKind::RateLimited, Status::Transient),
        "OperationAbortedException" | "ServiceUnavailableException" => {
            (ErrorKind::Overloaded, Status::Transient)
        }
        _ => return raw::known(code),
    })
}
