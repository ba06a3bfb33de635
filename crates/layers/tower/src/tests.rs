use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haul_core::{
    Deliver, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Service, Status, service_fn,
};
use haul_retry::{RetryLayer, RetryOptions};
use haul_timeout::{TimeoutLayer, TimeoutOptions};
use tokio::time::sleep;
use tower::limit::ConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer as TowersTimeout;
use tower::{ServiceBuilder, ServiceExt};

use super::*;

fn takes(millis: u64) -> impl Service<Packet> {
    service_fn(move |packet: Packet| async move {
        sleep(Duration::from_millis(millis)).await;
        Ok(Receipt::new(Level::Sent, packet.id()))
    })
}

fn failing() -> impl Service<Packet> {
    service_fn(|_: Packet| async { Err(Error::new(ErrorKind::RateLimited, "slow down").with("shard", 7)) })
}

#[tokio::test(start_paused = true)]
async fn towers_timeout_around_a_service_of_haul_times_out_and_lets_typed_errors_through() {
    let layer = TowerLayer::new(TowersTimeout::new(Duration::from_millis(100)));
    layer.layer(takes(99)).deliver(Packet::text("x")).await.unwrap();
    let late = layer.layer(takes(101)).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(
        (late.kind(), late.status(), late.sent()),
        (ErrorKind::Internal, Status::Transient, Sent::Maybe)
    );
    assert!(late.to_string().contains("timed out"), "{late}");
    // Tower boxed this one on its way; it comes back typed and whole.
    let typed = layer.layer(failing()).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(typed.kind(), ErrorKind::RateLimited);
    assert_eq!(typed.context().collect::<Vec<_>>(), [("shard", "7")]);
}

#[tokio::test(start_paused = true)]
async fn towers_concurrency_limit_holds_for_calls_through_the_bridge() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (running.clone(), most.clone());
    let counting = service_fn(move |_: Packet| {
        let (now, peak) = (now.clone(), peak.clone());
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Receipt::new(Level::Sent, None))
        }
    });
    let limited = Arc::new(TowerLayer::new(ConcurrencyLimitLayer::new(3)).layer(counting));
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let limited = limited.clone();
            tokio::spawn(async move { limited.deliver(Packet::text("x")).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_service_of_haul_serves_tower() {
    let service = ToTower::new(takes(1));
    let id = Packet::text("x").identified();
    let receipt: Receipt = service.clone().oneshot(id.clone()).await.unwrap();
    assert_eq!(receipt.id, id.id());
    let error = ToTower::new(failing()).oneshot(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn a_builder_of_tower_stacks_layers_of_both() {
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = tries.clone();
    let slow_once = service_fn(move |packet: Packet| {
        let slow = seen.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            sleep(Duration::from_secs(if slow { 60 } else { 0 })).await;
            Result::Ok(Receipt::new(Level::Sent, packet.id()))
        }
    });
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryOptions::default()).unwrap())
        .layer(TowerLayer::new(ConcurrencyLimitLayer::new(1)))
        .layer(TimeoutLayer::new(TimeoutOptions::default()).unwrap())
        .service(slow_once);
    stack.deliver(Packet::text("x").identified()).await.unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 2);
}

#[derive(Clone)]
struct Sleepy(bool);

impl tower::Service<Packet> for Sleepy {
    type Response = Receipt;
    type Error = std::io::Error;
    type Future = std::future::Ready<std::io::Result<Receipt>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        if !std::mem::replace(&mut self.0, true) {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: Packet) -> Self::Future {
        assert!(self.0, "called before it was ready");
        std::future::ready(match packet.is_empty() {
            true => Err(std::io::Error::other("wrapped")),
            false => Ok(Receipt::new(Level::Sent, None)),
        })
    }
}

#[tokio::test]
async fn a_service_of_tower_is_called_only_when_it_is_ready_and_its_error_is_the_source() {
    let service = FromTower::new(Sleepy(false));
    service.deliver(Packet::text("x")).await.unwrap();
    let error = service.deliver(Packet::text("")).await.unwrap_err();
    assert_eq!(error.to_string(), "deliver through tower: wrapped");
}

#[tokio::test]
async fn an_error_of_haul_deep_inside_another_is_found() {
    #[derive(Debug)]
    struct Outer(Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let service = tower::service_fn(|_: Packet| async {
        let boxed: tower::BoxError = Outer(Error::new(ErrorKind::NotFound, "no stream")).into();
        std::result::Result::<Receipt, _>::Err(boxed)
    });
    let error = FromTower::new(service).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
