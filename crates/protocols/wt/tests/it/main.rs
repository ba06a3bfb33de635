//! WebTransport against strangers, bad input and bad luck.
