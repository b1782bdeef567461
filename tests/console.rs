//! Who may ask the console what: every route, by every sort of person, and every way of signing in.

mod brakes;
mod browser;
mod coverage;
mod events;
mod issuer;
mod people;
mod schema;
mod sessions;
mod socket;
mod world;
