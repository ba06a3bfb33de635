//! The client's errors in haul's words.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::BatchResultErrorEntry;
use haul_core::{Error, ErrorKind, Sent, Status};

/// What went wrong with a request.
pub(crate) fn failed<E>(why: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let error = |kind, sent| Error::new(kind, chain(&why)).with_sent(sent);
    match &why {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            let said = answer.err().message().unwrap_or("it does not say why");
            let text = format!("the server answered {status} {code}: {said}");
            match known(code) {
                Some((kind, status)) => Error::new(kind, text).with_status(status).with_sent(Sent::No),
                None if status >= 500 => Error::new(ErrorKind::Overloaded, text).with_sent(Sent::Maybe),
                None if matches!(status, 401 | 403) => {
                    Error::new(ErrorKind::Unauthorized, text).with_sent(Sent::No)
                }
                None if status == 429 => Error::new(ErrorKind::RateLimited, text).with_sent(Sent::No),
                None if status >= 400 => Error::new(ErrorKind::Rejected, text).with_sent(Sent::No),
                None => error(ErrorKind::Protocol, Sent::Maybe).with_status(Status::Transient),
            }
        }
        SdkError::ConstructionFailure(_) => error(ErrorKind::Config, Sent::No),
        SdkError::TimeoutError(_) => error(ErrorKind::Timeout, Sent::Maybe),
        SdkError::DispatchFailure(_) => undispatched(&why, chain(&why)),
        _ => error(ErrorKind::Protocol, Sent::Maybe).with_status(Status::Transient),
    }
}

/// Why there was no answer: no credentials, no connection, or one that was lost.
fn undispatched(why: &(dyn StdError + 'static), said: String) -> Error {
    if let Some(credentials) = find::<CredentialsError>(why) {
        use CredentialsError as Why;
        let status = match credentials {
            Why::ProviderTimedOut(_) | Why::ProviderError(_) => Status::Transient,
            _ => Status::Permanent,
        };
        return Error::new(ErrorKind::Unauthorized, said).with_status(status).with_sent(Sent::No);
    }
    let connecting = find::<hyper_util::client::legacy::Error>(why).is_some_and(|why| why.is_connect());
    if !connecting {
        return Error::new(ErrorKind::Closed, said).with_status(Status::Transient).with_sent(Sent::Maybe);
    }
    let tls = find::<rustls::Error>(why).is_some();
    let kind = if tls { ErrorKind::Tls } else { ErrorKind::Connect };
    Error::new(kind, said).with_sent(Sent::No)
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

/// The codes that say more than their status does ("Common errors" and "SendMessageBatch" of the API reference).
fn known(code: &str) -> Option<(ErrorKind, Status)> {
    Some(match code.rsplit(['.', '#']).next().unwrap_or_default() {
        "NonExistentQueue" | "QueueDoesNotExist" => (ErrorKind::NotFound, Status::Permanent),
        "RequestThrottled"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException"
        | "OverLimit"
        | "KmsThrottled" => (ErrorKind::RateLimited, Status::Transient),
        "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSecurity"
        | "InvalidSignatureException"
        | "KmsAccessDenied"
        | "MissingAuthenticationToken"
        | "NotAuthorized"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => (ErrorKind::Unauthorized, Status::Permanent),
        "BatchRequestTooLong" => (ErrorKind::TooLarge, Status::Permanent),
        _ => return None,
    })
}

/// All that an error and those beneath it say.
fn chain(why: &(dyn StdError + 'static)) -> String {
    let mut said = why.to_string();
    let mut next = beneath(why);
    while let Some(why) = next {
        let more = why.to_string();
        if !said.ends_with(&more) {
            said = format!("{said}: {more}");
        }
        next = beneath(why);
    }
    said
}

/// The first error of type `T` at or beneath `why`.
fn find<'a, T: StdError + 'static>(why: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    match why.downcast_ref() {
        Some(found) => Some(found),
        None => find(beneath(why)?),
    }
}

/// The error beneath. One of input or output keeps what it was made of to itself.
fn beneath<'a>(why: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match why.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inside) => Some(inside),
        None => why.source(),
    }
}
