//! Who answers what.

use mote_webserver::{Request, Response};

use crate::problem::Problem;
use crate::toolstack::Toolstack;
use crate::{domains, images, machine};

/// A request on its way to who answers it.
pub(crate) struct Call<'a> {
    /// The request.
    pub request: &'a Request<'a>,
    /// What stands in the path where the route has a name in braces.
    pub parameter: &'a str,
    /// Who knows and does.
    pub toolstack: &'a mut dyn Toolstack,
}

/// What becomes of a request.
pub(crate) type Answer = Result<Response, Problem>;

/// A method and a path that the API knows.
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path; a segment in braces stands for any.
    pub path: &'static str,
    /// Whether it takes no token.
    pub is_open: bool,
    answer: fn(Call<'_>) -> Answer,
}

const fn route(method: &'static str, path: &'static str, answer: fn(Call<'_>) -> Answer) -> Route {
    Route { method, path, is_open: false, answer }
}

/// All routes.
pub static ROUTES: [Route; 17] = [
    Route { is_open: true, ..route("GET", "/openapi.yaml", machine::openapi) },
    route("GET", "/machine", machine::info),
    route("GET", "/dmesg", machine::log),
    route("GET", "/metrics", machine::metrics),
    route("GET", "/domains", domains::list),
    route("POST", "/domains", domains::create),
    route("GET", "/domains/{domain}", domains::info),
    route("DELETE", "/domains/{domain}", domains::destroy),
    route("POST", "/domains/{domain}/pause", domains::pause),
    route("POST", "/domains/{domain}/unpause", domains::unpause),
    route("POST", "/domains/{domain}/shutdown", domains::shut_down),
    route("POST", "/domains/{domain}/restart", domains::restart),
    route("GET", "/domains/{domain}/console", domains::console),
    route("POST", "/domains/{domain}/console", domains::type_at),
    route("GET", "/images", images::list),
    route("PUT", "/images/{image}", images::put),
    route("DELETE", "/images/{image}", images::remove),
];

impl Route {
    /// What `path` has in place of the name in braces, or nothing if there is none; `None` if it is another path.
    fn matches<'a>(&self, path: &'a str) -> Option<&'a str> {
        let (mut own, mut other) = (self.path.split('/'), path.split('/'));
        let mut parameter = "";
        loop {
            match (own.next(), other.next()) {
                (None, None) => return Some(parameter),
                (Some(own), Some(other)) if own.starts_with('{') && !other.is_empty() => parameter = other,
                (Some(own), Some(other)) if own == other => {}
                _ => return None,
            }
        }
    }
}

/// Answers a request; `may` says whether it is from somebody who may ask for what is not for everybody.
pub fn answer(request: &Request<'_>, toolstack: &mut dyn Toolstack, may: impl Fn(&Request<'_>) -> bool) -> Answer {
    // A server leaves the body out.
    let method = if request.method == "HEAD" { "GET" } else { request.method };
    let found = || ROUTES.iter().filter_map(|route| Some((route, route.matches(request.path())?)));
    let route = found().find(|(route, _)| route.method == method);
    if !route.is_some_and(|(route, _)| route.is_open) && !may(request) {
        let hint = "send the header `Authorization: Bearer TOKEN`; `mote` finds the token in the machine's state file";
        return Err(Problem::new(401, "the request has no token, or not this machine's", hint));
    }
    match (route, found().next()) {
        (Some((route, parameter)), _) => (route.answer)(Call { request, parameter, toolstack }),
        (None, Some((other, _))) => Err(Problem::method(methods(other.path))),
        (None, None) => Err(Problem::new(404, "there is no such path", "GET /openapi.yaml says which there are")),
    }
}

/// The methods of a path.
fn methods(path: &str) -> &'static str {
    let of = |method| ROUTES.iter().any(|route| route.path == path && route.method == method);
    match [of("GET"), of("POST"), of("PUT"), of("DELETE")] {
        [true, true, ..] => "GET, HEAD, POST",
        [true, _, _, true] => "GET, HEAD, DELETE",
        [true, ..] => "GET, HEAD",
        [_, _, true, _] => "PUT, DELETE",
        _ => "POST",
    }
}
