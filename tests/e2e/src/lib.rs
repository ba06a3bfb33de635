//! End-to-end tests of the haul program: a gateway fed by clients that haul's authors did not write, killed and starved.
//!
//! The tests are in `tests/it`, the clients of other languages in `tests/clients`. Sizes and numbers of kills come from
//! the variables that `haul-services` documents.
