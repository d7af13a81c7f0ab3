//! The messages and services of `interop.proto`, by hand because they are few, for both Rust sides
//! of the tests with Go: our host's and our plugin's.
//!
//! Always true: nothing here knows a host or a plugin, only messages.

#![allow(dead_code, reason = "each side uses its half")]

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The most one message may hold.
pub const MOST_BYTES: usize = 64 << 20;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Key {
    #[prost(string, tag = "1")]
    pub key: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Pair {
    #[prost(int64, tag = "1")]
    pub a: i64,
    #[prost(int64, tag = "2")]
    pub b: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Number {
    #[prost(int64, tag = "1")]
    pub n: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Id {
    #[prost(uint32, tag = "1")]
    pub id: u32,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sum {
    #[prost(message, optional, tag = "1")]
    pub pair: Option<Pair>,
    #[prost(uint32, tag = "2")]
    pub adder: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Talk {
    #[prost(string, tag = "1")]
    pub what: String,
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// Byte number `i` of what is printed for a test: no two neighbouring kilobytes are alike, so that
/// a lost, doubled or swapped piece shows.
pub fn pattern(i: u64) -> u8 {
    (i ^ i >> 8 ^ i >> 16) as u8
}

/// Calls the other side.
#[derive(Debug, Clone)]
pub struct Client(pub Channel);

impl Client {
    pub async fn put(&self, entry: Entry) -> Result<Empty, Status> {
        self.call("/interop.Kv/Put", entry).await
    }

    pub async fn get(&self, key: &str) -> Result<Entry, Status> {
        self.call("/interop.Kv/Get", Key { key: key.to_owned() }).await
    }

    pub async fn add_for(&self, sum: Sum) -> Result<Number, Status> {
        self.call("/interop.Kv/AddFor", sum).await
    }

    pub async fn serve(&self) -> Result<Id, Status> {
        self.call("/interop.Kv/Serve", Empty {}).await
    }

    pub async fn say(&self, what: &str, bytes: u64) -> Result<Empty, Status> {
        self.call("/interop.Kv/Say", Talk { what: what.to_owned(), bytes }).await
    }

    pub async fn add(&self, pair: Pair) -> Result<Number, Status> {
        self.call("/interop.Adder/Add", pair).await
    }

    async fn call<In, Out>(&self, path: &'static str, message: In) -> Result<Out, Status>
    where
        In: prost::Message + 'static,
        Out: prost::Message + Default + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.0.clone())
            .max_decoding_message_size(MOST_BYTES)
            .max_encoding_message_size(MOST_BYTES);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        client.unary(Request::new(message), path, ProstCodec::default()).await.map(Response::into_inner)
    }
}

/// The service `interop.Kv`.
pub trait Store: Send + Sync + 'static {
    fn put(&self, entry: Entry) -> impl Future<Output = Result<Empty, Status>> + Send;
    fn get(&self, key: Key) -> impl Future<Output = Result<Entry, Status>> + Send;
    fn add_for(&self, sum: Sum) -> impl Future<Output = Result<Number, Status>> + Send;
    fn serve(&self) -> impl Future<Output = Result<Id, Status>> + Send;
    fn say(&self, talk: Talk) -> impl Future<Output = Result<Empty, Status>> + Send;
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// Serves a [`Store`].
#[derive(Debug)]
pub struct StoreServer<S>(pub Arc<S>);

impl<S> Clone for StoreServer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> NamedService for StoreServer<S> {
    const NAME: &'static str = "interop.Kv";
}

impl<S: Store> Service<http::Request<Body>> for StoreServer<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let store = Arc::clone(&self.0);
        match request.uri().path() {
            "/interop.Kv/Put" => unary(request, async move |entry| store.put(entry).await),
            "/interop.Kv/Get" => unary(request, async move |key| store.get(key).await),
            "/interop.Kv/AddFor" => unary(request, async move |sum| store.add_for(sum).await),
            "/interop.Kv/Serve" => unary(request, async move |Empty {}| store.serve().await),
            "/interop.Kv/Say" => unary(request, async move |talk| store.say(talk).await),
            _ => unary(request, async |Empty {}| Err::<Empty, _>(Status::unimplemented("no such method"))),
        }
    }
}

/// Serves `interop.Adder`: it adds.
#[derive(Debug, Clone)]
pub struct Addition;

impl NamedService for Addition {
    const NAME: &'static str = "interop.Adder";
}

impl Service<http::Request<Body>> for Addition {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        unary(request, async |Pair { a, b }| Ok(Number { n: a + b }))
    }
}

fn unary<In, Out, F>(request: http::Request<Body>, answer: impl FnOnce(In) -> F + Send + 'static) -> Answer
where
    In: prost::Message + Default + 'static,
    Out: prost::Message + 'static,
    F: Future<Output = Result<Out, Status>> + Send + 'static,
{
    let mut answer = Some(answer);
    let service = tower::service_fn(move |request: Request<In>| {
        let answer = answer.take().expect("a unary call is answered once");
        async move { answer(request.into_inner()).await.map(Response::new) }
    });
    Box::pin(async move {
        let mut server = tonic::server::Grpc::new(ProstCodec::default())
            .max_decoding_message_size(MOST_BYTES)
            .max_encoding_message_size(MOST_BYTES);
        Ok(server.unary(service, request).await)
    })
}
