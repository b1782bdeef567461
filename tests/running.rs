//! The real binary, started as an operator starts it, before a shop that follows a script.

pub mod answers;
mod brakes;
mod console;
mod crash;
mod disk;
mod doctor;
mod evidence;
mod faults;
pub mod fleet;
mod http2;
mod lend;
mod listeners;
mod notify;
mod otlp;
mod people;
mod races;
mod reach;
mod reload;
mod reload_record;
mod road;
pub mod rolling;
mod serving;
mod shadow;
mod stops;
mod tls;
mod wire;
