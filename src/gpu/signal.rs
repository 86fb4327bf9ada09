//! A value that a driver's callback delivers to an async caller, natively and in the browser.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// The receiving end; a future of the value.
#[derive(Debug)]
pub struct Signal<T>(Arc<Mutex<State<T>>>);

/// The sending end.
#[derive(Debug)]
pub struct Sender<T>(Arc<Mutex<State<T>>>);

/// Both ends.
pub fn signal<T>() -> (Sender<T>, Signal<T>) {
    let state = Arc::new(Mutex::new(State { value: None, waker: None }));
    (Sender(state.clone()), Signal(state))
}

/// A poisoned lock means a panic elsewhere; the data is still sound.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sender<T> {
    /// Delivers the value.
    pub fn send(self, value: T) {
        let mut state = lock(&self.0);
        state.value = Some(value);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Signal<T> {
    /// Whether the value is there.
    pub fn is_ready(&self) -> bool {
        lock(&self.0).value.is_some()
    }
}

impl<T> Future for Signal<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.0);
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
