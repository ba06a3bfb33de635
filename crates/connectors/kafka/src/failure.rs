//! The client's errors in haul's words.

use haul_core::{Error, ErrorKind, Sent, Status};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What went wrong with a record that may have been sent.
pub(crate) fn failed(why: &KafkaError) -> Error {
    use RDKafkaErrorCode as Code;
    let (kind, status, sent) = match why.rdkafka_error_code() {
        Some(code) if is_refusal(code) => (ErrorKind::Unauthorized, Status::Permanent, Sent::No),
        Some(Code::SSL) => (ErrorKind::Tls, Status::Transient, Sent::No),
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize) => {
            (ErrorKind::TooLarge, Status::Permanent, Sent::No)
        }
        Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition) => {
            (ErrorKind::NotFound, Status::Permanent, Sent::No)
        }
        Some(
            Code::InvalidTopic
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::UnsupportedCompressionType
            | Code::InvalidArgument,
        ) => (ErrorKind::Rejected, Status::Permanent, Sent::No),
        Some(Code::QueueFull | Code::NotEnoughReplicas | Code::ThrottlingQuotaExceeded) => {
            (ErrorKind::Overloaded, Status::Transient, Sent::No)
        }
        Some(Code::NotEnoughReplicasAfterAppend) => (ErrorKind::Overloaded, Status::Transient, Sent::Maybe),
        Some(
            Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut | Code::TimedOutQueue,
        ) => (ErrorKind::Timeout, Status::Transient, Sent::Maybe),
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve) => {
            (ErrorKind::Connect, Status::Transient, Sent::Maybe)
        }
        Some(Code::PurgeQueue) => (ErrorKind::Closed, Status::Transient, Sent::No),
        Some(Code::PurgeInflight | Code::Fatal | Code::Fenced | Code::ProducerFenced) => {
            (ErrorKind::Closed, Status::Transient, Sent::Maybe)
        }
        Some(_) => (ErrorKind::Protocol, Status::Transient, Sent::Maybe),
        None => match why {
            // Its text has the value, which may be a password.
            KafkaError::ClientConfig(_, what, key, _) => {
                return Error::new(ErrorKind::Config, format!("the client refuses {key}: {what}"));
            }
            KafkaError::ClientCreation(_) => (ErrorKind::Config, Status::Permanent, Sent::No),
            KafkaError::Nul(_) => (ErrorKind::Rejected, Status::Permanent, Sent::No),
            _ => (ErrorKind::Protocol, Status::Transient, Sent::Maybe),
        },
    };
    Error::new(kind, why.to_string()).with_status(status).with_sent(sent)
}

/// The cluster said that we may not.
pub(crate) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}
