//! What is not answered: by the device, or because the line lost it.

use super::super::doubts::NOISY_POLLS;
use super::*;

/// Four points that are far from each other, so that each is a read of its own.
fn apart() -> Device {
    device("", &[(0, 1), (130, 1), (260, 1), (390, 1)])
}

#[test]
fn a_line_that_loses_answers_takes_no_register_away_that_was_read_before() {
    let device = apart();
    for seed in 1..=50 {
        let mut fake = Fake { readable: registers(0..400), most: 125, ..Fake::default() };
        let (mut student, begin) = (Student::new(&device, Lesson::default()), Instant::now());
        assert_eq!(poll(&mut student, &device, &fake, begin, 1).good.len(), 4);
        fake.losses = Cell::new(seed);
        for polls in 1..=200 {
            let polled = poll(&mut student, &device, &fake, begin, 1);
            assert!(student.lesson.refused.is_empty(), "seed {seed}, poll {polls}: {polled:?}");
        }
    }
}

#[test]
fn what_a_lost_answer_taught_before_anything_was_read_is_asked_again_at_the_next_loss() {
    let device = apart();
    let missing = registers([130]);
    let fake = Fake { readable: registers(0..400), most: 125, dumb: missing, ..Fake::default() };
    let (mut student, begin) = (Student::new(&device, Lesson::default()), Instant::now());
    for _ in 0..POLLS {
        poll(&mut student, &device, &fake, begin, 1);
    }
    assert_eq!(student.lesson.refused.len(), 1, "it looks as if it was not there");
    let fake = Fake { dumb: registers([260]), ..fake };
    assert_eq!(poll(&mut student, &device, &fake, begin, 1).good, [0, 3]);
    let fake = Fake { dumb: registers([]), ..fake };
    assert_eq!(poll(&mut student, &device, &fake, begin, 1).good.len(), 4);
    assert_eq!(student.lesson, Lesson::default());
}

#[test]
fn a_register_that_a_device_has_lost_is_left_out_in_the_end() {
    let device = apart();
    let fake = Fake { readable: registers(0..400), most: 125, ..Fake::default() };
    let (mut student, begin) = (Student::new(&device, Lesson::default()), Instant::now());
    poll(&mut student, &device, &fake, begin, 1);
    let fake = Fake { dumb: registers([260]), ..fake };
    for _ in 1..NOISY_POLLS {
        poll(&mut student, &device, &fake, begin, 1);
        assert!(student.lesson.refused.is_empty());
    }
    poll(&mut student, &device, &fake, begin, 1);
    assert_eq!(student.lesson.refused.len(), 1);
    let polled = poll(&mut student, &device, &fake, begin, 1);
    assert_eq!((polled.good.len(), polled.requests), (3, 3), "and costs no timeout any more");
}

#[test]
fn a_register_that_is_met_with_silence_costs_itself_and_not_the_device() {
    for (model, cells) in [("max_gap = 0", 1), ("", 1), ("max_gap = 0", 4)] {
        for dumb in [0, 3, 9] {
            let points: Vec<(u16, u16)> = (0..40).map(|n| (n * 4, cells)).collect();
            let device = device(model, &points);
            let dumb = registers([dumb * 4]);
            let fake = Fake { readable: registers(0..200), most: 125, dumb, ..Fake::default() };
            let mut student = Student::new(&device, Lesson::default());
            let (begin, mut silent) = (Instant::now(), 0);
            for _ in 0..SETTLED {
                silent += usize::from(poll(&mut student, &device, &fake, begin, 1).silent);
            }
            assert!(silent <= 4, "{silent} polls failed");
            let polled = poll(&mut student, &device, &fake, begin, 1);
            assert_eq!((polled.good.len(), polled.refused), (39, 0), "{model} {cells}");
            assert_eq!(student.lesson.refused.len(), 1);
        }
    }
}

#[test]
fn a_device_that_dies_in_a_poll_costs_three_silences_at_most() {
    let device = device("max_gap = 0", &(0..40).map(|n| (n * 2, 1)).collect::<Vec<_>>());
    let fake = Fake { readable: registers(0..9), dumb: registers(9..90), most: 125, ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    let polled = poll(&mut student, &device, &fake, Instant::now(), 1);
    assert_eq!((polled.good.len(), polled.refused, polled.silent), (5, 3, true));
    assert_eq!(student.lesson, Lesson::default());
}
