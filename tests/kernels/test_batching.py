"""Bucket shapes: few, bounded in waste, a function of the size alone."""

import numpy as np

from coverax.kernels import batch_size, bucket_size, clear_slots, empty_batch, fill_slot


def test_buckets_hold_their_volumes_and_waste_at_most_a_quarter():
    for n in [*range(1, 9000, 7), 10**6, 78_643_200, 512**3]:
        bucket = bucket_size(n)
        assert bucket >= n
        assert bucket <= max(4096, 1.25 * n)
        assert bucket_size(bucket) == bucket


def test_a_cohort_of_many_sizes_meets_few_buckets():
    sizes = range(50_000, 100_000, 13)
    assert len({bucket_size(n) for n in sizes}) <= 5


def test_a_reused_slot_forgets_its_last_case():
    batch = empty_batch(bucket_size(5000))
    big, small = np.full(5000, 0.5, np.float32), np.full(10, 0.25, np.float32)
    fill_slot(batch, 0, big, np.ones(5000, bool), None)
    fill_slot(batch, 0, small, np.ones(10, bool), np.arange(10) < 4)
    assert batch.valid[0].sum() == 4
    assert batch.labels[0].sum() == 10
    clear_slots(batch, 0)
    assert not batch.valid.any()
    assert not batch.labels.any()
    assert len(batch.probs) == batch_size(bucket_size(5000))
