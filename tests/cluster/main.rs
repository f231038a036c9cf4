//! A whole cluster in one process: an index, six nodes in three racks, people who push and pull, over real connections on
//! the loopback, with short settings. Each law of DESIGN §12 that only a cluster can break has its own file.
//!
//! Contents follow from a seed; `CAS_TEST_SEED` draws others, and each test says which it was.

mod away;
mod collect;
mod disk;
mod drain;
mod measure;
mod member;
mod person;
mod push;
mod restore;
mod retention;
mod silent;
mod world;
