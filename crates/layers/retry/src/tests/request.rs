//! Requests: what an answer's status says, and which bodies can be sent again.

use haul_core::{Body, Call, Request, Response};
use http::Method;
use http::header::RETRY_AFTER;

use super::*;

/// What one try is answered.
#[derive(Clone)]
enum Answer {
    Status(u16),
    /// A status, and after how many seconds to come back.
    Wait(u16, u64),
    Fails(Error),
}

use Answer::{Fails, Status as Says, Wait};

struct Server {
    answers: Mutex<VecDeque<Answer>>,
    start: Instant,
    /// When each try came, in seconds, and its body.
    tries: Mutex<Vec<(f64, String)>>,
}

impl Service<Request> for Server {
    async fn call(&self, request: Request) -> Result<Response> {
        let at = (self.start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let body = request.into_body().bytes(64).await?;
        self.tries.lock().unwrap().push((at, String::from_utf8(body.to_vec()).unwrap()));
        let answer = self.answers.lock().unwrap().pop_front().expect("one try too many");
        let (status, wait) = match answer {
            Fails(why) => return Err(why),
            Says(status) => (status, None),
            Wait(status, seconds) => (status, Some(seconds)),
        };
        let mut response = http::Response::builder().status(status);
        if let Some(seconds) = wait {
            response = response.header(RETRY_AFTER, seconds);
        }
        Ok(response.body(Body::empty()).unwrap())
    }
}

fn server(answers: impl IntoIterator<Item = Answer>) -> Arc<Server> {
    Arc::new(Server {
        answers: Mutex::new(answers.into_iter().collect()),
        start: Instant::now(),
        tries: Mutex::default(),
    })
}

fn request(method: Method, body: Body) -> Request {
    http::Request::builder().method(method).uri("https://a.example/b").body(body).unwrap()
}

fn with_key(mut request: Request) -> Request {
    request.headers_mut().insert("idempotency-key", "7".parse().unwrap());
    request
}

/// What a retry of the default options answers, and when which body was tried.
async fn tried(request: Request, answers: Vec<Answer>) -> (Result<Response>, Vec<(f64, String)>) {
    let server = server(answers);
    let answer = layer(RetryOptions::default()).layer(server.clone()).request(request).await;
    assert!(server.answers.lock().unwrap().is_empty(), "it was not tried as often as expected");
    let tries = server.tries.lock().unwrap().clone();
    (answer, tries)
}

fn times(tries: &[(f64, String)]) -> Vec<f64> {
    tries.iter().map(|(at, _)| *at).collect()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_when_to_come_back_is_asked_again_then_whatever_the_method() {
    for status in [429, 503] {
        for method in [Method::GET, Method::POST] {
            let answers = vec![Wait(status, 30), Wait(status, 0), Says(200)];
            let (answer, tries) = tried(request(method, Body::from("x")), answers).await;
            assert_eq!(answer.unwrap().status(), 200);
            // The second wait is its own, for the server's is shorter.
            assert_eq!(times(&tries), [0.0, 30.0, 30.2]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_may_have_applied_is_sent_again_only_if_it_is_idempotent() {
    for failure in
        [Says(500), Says(502), Says(503), Says(504), Says(408), Fails(Error::new(ErrorKind::Timeout, "late"))]
    {
        let post = || request(Method::POST, Body::from("x"));
        let (answer, tries) = tried(post(), vec![failure.clone()]).await;
        match answer {
            // An outer retry is to leave it alone, too.
            Ok(answer) => assert_eq!(Request::failure(&answer).unwrap().status(), Status::Exhausted),
            Err(why) => assert_eq!(why.sent(), Sent::Maybe),
        }
        assert_eq!(tries.len(), 1);
        for again in
            [with_key(post()), request(Method::PUT, Body::from("x")), request(Method::GET, Body::empty())]
        {
            let (answer, tries) = tried(again, vec![failure.clone(), Says(200)]).await;
            assert_eq!((answer.unwrap().status().as_u16(), tries.len()), (200, 2));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_left_is_sent_again_whatever_the_method() {
    let failure = Fails(Error::new(ErrorKind::Connect, "refused"));
    let (answer, tries) = tried(request(Method::POST, Body::from("x")), vec![failure, Says(201)]).await;
    assert_eq!((answer.unwrap().status().as_u16(), tries.len()), (201, 2));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_will_not_change_is_passed_on_at_once() {
    for status in [200, 304, 400, 401, 404, 501] {
        let (answer, tries) = tried(request(Method::GET, Body::empty()), vec![Says(status)]).await;
        assert_eq!((answer.unwrap().status().as_u16(), tries.len()), (status, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_can_be_opened_again_is_read_from_its_start_by_each_try() {
    let body = Body::reopenable(|| Body::from("file"));
    let (answer, tries) = tried(request(Method::PUT, body), vec![Says(500), Wait(503, 1), Says(200)]).await;
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(tries.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), ["file"; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_can_be_read_once_is_tried_once_and_its_answer_passed_on() {
    let body = || Body::once(Body::from("stream"));
    let (answer, tries) = tried(request(Method::PUT, body()), vec![Wait(503, 1)]).await;
    assert_eq!((answer.unwrap().status().as_u16(), tries.len()), (503, 1));
    let failure = Fails(Error::new(ErrorKind::Connect, "refused"));
    let (answer, tries) = tried(request(Method::PUT, body()), vec![failure]).await;
    assert_eq!((answer.unwrap_err().kind(), tries.len()), (ErrorKind::Connect, 1));
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_passed_on_and_an_outer_retry_leaves_it_alone() {
    let server = server(vec![Says(503); 2]);
    let twice = || layer(RetryOptions { attempts: 2, ..RetryOptions::default() });
    let nested = twice().layer(twice().layer(server.clone()));
    let answer = nested.request(request(Method::GET, Body::empty())).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(server.tries.lock().unwrap().len(), 2);
}
