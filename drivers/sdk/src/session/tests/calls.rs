//! What drivers and their lines ask of the gateway, and what becomes of it without one.

use super::loss::GRACE;
use super::*;
use crate::host::{CALL_TIMEOUT, HostError};

#[tokio::test(start_paused = true)]
async fn a_driver_asks_its_gateway_while_a_session_is_open() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    host.secret("login", b"s3cret");
    let asks = world.host.get().unwrap().clone();
    let asking = tokio::spawn(async move {
        asks.put("offset", vec![1, 2]).await?;
        let kept = asks.get("offset").await?;
        asks.delete("offset").await?;
        let none = asks.get("offset").await?;
        let secret = asks.secret("login").await?;
        let gateway = asks.context().await?.gateway;
        Ok::<_, HostError>((kept, none, secret, gateway, asks.secret("other").await))
    });
    while !asking.is_finished() {
        host.next("calls").await;
    }
    let (kept, none, secret, gateway, refused) = asking.await.unwrap().unwrap();
    assert_eq!((kept, none, secret.as_slice()), (Some(vec![1, 2]), None, &b"s3cret"[..]));
    assert_eq!(gateway.unwrap().device_key, "test-gateway");
    assert_eq!(refused, Err(HostError::Refused("no secret \"other\"".into())));
    let asks = world.host.get().unwrap().clone();
    assert_eq!(asks.put("big", vec![0; 5_000]).await, Err(HostError::TooLarge(5_000)));
    host.stop().await;
    assert_eq!(asks.context().await, Err(HostError::NoSession));
}

/// Its poll asks for the secret `login` and tells it.
fn asking_device() -> Configuration {
    tables(json!({
        "connection": { "bus": {} },
        "device": { "meter": { "connection": "bus", "asks": "login" } },
    }))
}

#[tokio::test(start_paused = true)]
async fn a_line_that_asks_without_a_session_is_told_so_at_once_and_gets_its_answer_from_the_next() {
    let world = World::new();
    let mut host = TestHost::start(Fake(world.clone()), Patience::AnotherMayCome(GRACE)).await;
    host.configure(&asking_device()).await;
    let refused = host.sample_of("meter", "a").await;
    assert_eq!(refused.quality, Quality::Bad("no secret \"login\"".to_owned()));
    host.secret("login", b"s3cret");
    while host.sample_of("meter", "a").await.value != Some(Value::Text("s3cret".into())) {}
    host.die();
    let polls = world.count("poll");
    sleep(Duration::from_secs(60)).await;
    assert!(world.count("poll") >= polls + 59, "no poll hung for want of a gateway");
    host.reopen().await;
    host.configure(&asking_device()).await;
    let mut told = Vec::new();
    while told.last() != Some(&Ok(Value::Text("s3cret".into()))) {
        let sample = host.sample_of("meter", "a").await;
        told.push(sample.value.ok_or(sample.quality));
    }
    let without = Err(Quality::Bad("no gateway is connected".to_owned()));
    assert!(told.iter().filter(|one| **one == without).count() >= 59, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_answer_holds_a_line_for_the_timeout_only() {
    let world = World::new();
    let mut host = started(&world, &asking_device()).await;
    // Nobody reads the session, so nobody answers.
    sleep(CALL_TIMEOUT * 4).await;
    let polls = world.count("poll");
    assert!((3..=5).contains(&polls), "{polls} polls");
    let told = host.sample_of("meter", "a").await.quality;
    assert_eq!(told, Quality::Bad("the gateway did not answer within 5s".to_owned()));
}
