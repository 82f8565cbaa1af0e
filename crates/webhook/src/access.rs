//! Who may do what, asked of the API server and remembered for a moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use backproof_api::validate::Access;
use k8s_openapi::api::{
    authentication::v1::UserInfo,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

/// How long a yes is believed: about as long as the API server's own cache does.
const YES: Duration = Duration::from_secs(10);
/// How long a no is believed: whoever has just been given the right tries again at once.
const NO: Duration = Duration::from_secs(1);
/// Most answers that are kept.
const MOST: usize = 4096;

/// Who asked for what: the user as JSON, and the access.
type Question = (String, Access);
/// An answer, and until when it is believed.
type Answer = (bool, Instant);

/// Answers that are still believed.
#[derive(Clone, Default)]
pub struct Reviews(Arc<Mutex<HashMap<Question, Answer>>>);

impl Reviews {
    /// Whether somebody has an access.
    pub async fn permitted(&self, client: &Client, user: &UserInfo, access: &Access) -> Result<bool, kube::Error> {
        let key = (serde_json::to_string(user).unwrap_or_default(), access.clone());
        if let Some(answer) = self.remembered(&key, Instant::now()) {
            return Ok(answer);
        }
        let review = SubjectAccessReview { spec: question(user, access), ..SubjectAccessReview::default() };
        let answer = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
        let permitted = answer.status.is_some_and(|status| status.allowed);
        self.remember(key, permitted, Instant::now());
        Ok(permitted)
    }

    fn remembered(&self, key: &Question, now: Instant) -> Option<bool> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key).filter(|(_, until)| *until > now).map(|(answer, _)| *answer)
    }

    fn remember(&self, key: Question, answer: bool, now: Instant) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.retain(|_, (_, until)| *until > now);
        }
        if answers.len() < MOST {
            answers.insert(key, (answer, now + if answer { YES } else { NO }));
        }
    }
}

fn question(user: &UserInfo, access: &Access) -> SubjectAccessReviewSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    SubjectAccessReviewSpec {
        user: user.username.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user.extra.clone(),
        resource_attributes: Some(ResourceAttributes {
            verb: some(access.verb),
            group: some(access.group),
            resource: some(access.resource),
            namespace: some(&access.namespace),
            name: some(&access.name),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(name: &str) -> Access {
        Access { verb: "get", group: "", resource: "secrets", namespace: "infra".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn answers_are_believed_briefly_and_a_no_more_briefly() {
        let (reviews, now) = (Reviews::default(), Instant::now());
        let key = |name| ("ann".to_owned(), access(name));
        reviews.remember(key("a"), true, now);
        reviews.remember(key("b"), false, now);
        assert_eq!((reviews.remembered(&key("a"), now), reviews.remembered(&key("b"), now)), (Some(true), Some(false)));
        assert_eq!(reviews.remembered(&("bob".to_owned(), access("a")), now), None);
        let later = now + NO;
        assert_eq!((reviews.remembered(&key("a"), later), reviews.remembered(&key("b"), later)), (Some(true), None));
        assert_eq!(reviews.remembered(&key("a"), now + YES), None);
    }

    #[test]
    fn no_more_is_kept_than_said() {
        let (reviews, now) = (Reviews::default(), Instant::now());
        for at in 0..MOST + 10 {
            reviews.remember((at.to_string(), access("a")), true, now);
        }
        assert_eq!(reviews.0.lock().unwrap().len(), MOST);
        reviews.remember(("late".to_owned(), access("a")), true, now + YES);
        assert_eq!(reviews.0.lock().unwrap().len(), 1);
    }
}
