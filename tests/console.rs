//! Who may ask the console what: every route, by every sort of person.

mod coverage;
mod world;
