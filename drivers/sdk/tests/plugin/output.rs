//! What a plugin prints and logs, when somebody reads it and when nobody does.

use std::time::Duration;

use sagoo_edge_proto::handshake::PLUGIN_PROTOCOL_VERSIONS;
use sagoo_edge_proto::plugin::grpc_controller_client::GrpcControllerClient;
use sagoo_edge_proto::plugin::grpc_stdio_client::GrpcStdioClient;
use sagoo_edge_proto::plugin::stdio_data::Channel as Stream;
use sagoo_edge_proto::plugin::{Empty, StdioData};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::{sleep, timeout};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::rig::{Driver, WAIT, healthy, log_line, shut_down};

const MANY: usize = 10 * 1024 * 1024;

async fn start(prepare: impl FnOnce(&mut tokio::process::Command)) -> Driver {
    Driver::start_with("plain", None, |command| {
        command.env(PLUGIN_PROTOCOL_VERSIONS, "3").env("PLAIN_BYTES", MANY.to_string());
        prepare(command);
    })
    .await
}

async fn mirror(channel: &Channel) -> Streaming<StdioData> {
    GrpcStdioClient::new(channel.clone()).stream_stdio(()).await.unwrap().into_inner()
}

fn printed() -> Vec<u8> {
    (0..MANY).map(|place| (place / 7) as u8).collect()
}

/// Reads until so much came on both channels.
async fn take(stream: &mut Streaming<StdioData>, stdout: usize, stderr: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while out.len() < stdout || err.len() < stderr {
        let message = timeout(WAIT, stream.message()).await.expect("more comes").unwrap().expect("no end");
        match message.channel() {
            Stream::Stdout => out.extend(message.data),
            Stream::Stderr => err.extend(message.data),
            Stream::Invalid => panic!("a channel without a name"),
        }
    }
    (out, err)
}

/// Waits for the file it makes when it is done; nobody has to read for that.
async fn file(driver: &Driver, name: &str) {
    let path = driver.dir.path().join(name);
    let there = async {
        while !path.exists() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WAIT, there).await.expect("it goes on without a reader");
    std::fs::remove_file(path).unwrap();
}

/// Signals are known to it from its line `ready` on.
async fn ready(driver: &mut Driver) -> BufReader<tokio::process::ChildStderr> {
    let mut log = BufReader::new(driver.child.stderr.take().unwrap());
    loop {
        let mut line = String::new();
        assert!(timeout(WAIT, log.read_line(&mut line)).await.expect("a line").unwrap() > 0, "it ended");
        if log_line(&line)["@message"] == "ready" {
            return log;
        }
    }
}

#[tokio::test]
async fn ten_mebibytes_printed_at_once_arrive_byte_for_byte_and_stall_nothing() {
    let mut driver = start(|_| {}).await;
    let _log = ready(&mut driver).await;
    let channel = driver.connect().await.unwrap();
    let mut stream = mirror(&channel).await;
    for _ in 0..2 {
        driver.signal("-USR1");
        let (out, err) = take(&mut stream, MANY, 0).await;
        assert!(out == printed() && err.is_empty());
        file(&driver, "printed").await;
    }
    assert!(healthy(&channel, "plugin").await);
    drop(stream);
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn what_is_sent_to_both_channels_arrives_whole_however_slow_the_host_is() {
    let mut driver = start(|_| {}).await;
    let _log = ready(&mut driver).await;
    let channel = driver.connect().await.unwrap();
    let mut stream = mirror(&channel).await;
    driver.signal("-USR2");
    let (out, err) = take(&mut stream, MANY, MANY).await;
    assert!(out == printed() && err == printed());
    drop(stream);
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn prints_that_nobody_reads_stall_nothing_and_the_newest_are_kept() {
    let mut driver = start(|_| {}).await;
    let mut log = ready(&mut driver).await;
    let channel = driver.connect().await.unwrap();
    driver.signal("-USR1");
    file(&driver, "printed").await;
    assert!(healthy(&channel, "plugin").await);
    let mut stream = mirror(&channel).await;
    let dropped = loop {
        let mut line = String::new();
        timeout(WAIT, log.read_line(&mut line)).await.expect("a line").unwrap();
        let line = log_line(&line);
        if line["@message"] == "output was dropped while nobody read it" {
            break line["bytes"].as_str().unwrap().parse::<usize>().unwrap();
        }
    };
    assert!(dropped >= MANY / 2, "{dropped}");
    let (out, _) = take(&mut stream, MANY - dropped, 0).await;
    assert!(out == printed()[dropped..], "what is kept is the newest, without a hole");
    drop(stream);
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn a_second_host_goes_on_with_the_output() {
    let mut driver = start(|_| {}).await;
    let _log = ready(&mut driver).await;
    let channel = driver.connect().await.unwrap();
    let mut first = mirror(&channel).await;
    let other = driver.connect().await.unwrap();
    let mut second = mirror(&other).await;
    let ended = timeout(WAIT, first.message()).await.expect("the first one ends");
    assert!(matches!(ended, Ok(None)), "{ended:?}");
    driver.signal("-USR1");
    assert!(take(&mut second, MANY, 0).await.0 == printed());
    file(&driver, "printed").await;
    drop((second, other));
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn the_last_words_of_a_plugin_arrive_before_the_answer_to_shutdown() {
    let words = "w".repeat(100_000);
    let mut driver = start(|command| _ = command.env("PLAIN_LAST_WORDS", &words)).await;
    let _log = ready(&mut driver).await;
    let channel = driver.connect().await.unwrap();
    let mut stream = mirror(&channel).await;
    let shutdown = GrpcControllerClient::new(channel.clone());
    let shutdown = tokio::spawn(async move { { shutdown }.shutdown(Empty {}).await });
    let (out, _) = take(&mut stream, words.len(), 0).await;
    assert!(out == words.as_bytes());
    assert!(matches!(timeout(WAIT, stream.message()).await.unwrap(), Ok(None)), "and then it ends");
    assert!(shutdown.await.unwrap().is_ok());
    drop((stream, channel));
    assert_eq!(driver.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_log_that_nobody_reads_stalls_nothing_and_what_was_dropped_is_counted() {
    let lines = 20_000;
    let mut driver = start(|command| _ = command.env("PLAIN_CHATTER", lines.to_string())).await;
    let channel = driver.connect().await.unwrap();
    file(&driver, "chatted").await;
    assert!(healthy(&channel, "plugin").await);
    let mut log = BufReader::new(driver.child.stderr.take().unwrap());
    let (mut chatter, mut dropped) = (0, 0);
    // Whoever comes second, the log or the reader: each hole is said where it is.
    while chatter + dropped < lines {
        let mut line = String::new();
        timeout(WAIT, log.read_line(&mut line)).await.expect("a line").unwrap();
        let line = log_line(&line);
        match line["@message"].as_str().unwrap() {
            "chatter" => {
                assert_eq!(line["number"], (chatter + dropped).to_string(), "none is missing unsaid");
                chatter += 1;
            }
            "log lines were dropped while nobody read them" => {
                dropped += line["dropped"].as_str().unwrap().parse::<usize>().unwrap();
            }
            _ => {}
        }
    }
    assert!(dropped > lines / 2, "nearly all of it finds no place: {dropped}");
    // Its line `ready` may be among the dropped.
    assert!((lines..=lines + 1).contains(&(chatter + dropped)), "{chatter} and {dropped}");
    shut_down(driver, channel).await;
}
