//! credd as a service manager runs it: with sockets that it is handed, and told of how it does.

mod alive;
mod handed;
mod manager;
mod standing;
mod units;
