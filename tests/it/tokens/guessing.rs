//! T5: whoever guesses gets nothing.

use super::*;

#[test]
fn no_guess_near_a_token_opens_anything_over_a_connection() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let mut opened = 0;
    let mut guesses = 0;
    for token in [ground.token("default"), ground.token("worker")] {
        // Each place with each other digit: 64 times 15.
        for place in 0..token.len() {
            for digit in "0123456789abcdef".chars() {
                let mut guess: Vec<char> = token.chars().collect();
                if guess[place] == digit {
                    continue;
                }
                guess[place] = digit;
                let guess: String = guess.into_iter().collect();
                guesses += 1;
                opened += u32::from(status(&daemon, &guess) != 403);
            }
        }
        assert_eq!(status(&daemon, &token), 200);
    }
    assert_eq!((guesses, opened), (1920, 0));
}

#[test]
fn two_halves_of_two_tokens_are_none() {
    let ground = Ground::with_worker(PRIVATE);
    let daemon = ground.serve();
    let (one, other) = (ground.token("default"), ground.token("worker"));
    for at in [16, 32, 48] {
        assert_eq!(status(&daemon, &[&one[..at], &other[at..]].concat()), 403);
        assert_eq!(status(&daemon, &[&other[..at], &one[at..]].concat()), 403);
    }
}
