"""The studio's numbers in Prometheus' form: trainings, queues, pictures, answers, this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from lora_studio import __version__
from lora_studio.files import free_bytes
from lora_studio.jobs.generation_queue import GenerationState
from lora_studio.store.job_lists import jobs_by_status, steps_by_job
from lora_studio.studio import Studio

Metrics = Iterator[CounterMetricFamily | GaugeMetricFamily]


class StudioCollector(Collector):
    """A collector that reads the studio when asked; `answers` counts HTTP answers by a first digit."""

    def __init__(self, studio: Studio, answers: Mapping[int, int]) -> None:
        self._studio, self._answers = studio, answers
        self._steps: Counter[str] = Counter()

    def describe(self) -> Metrics:
        """Nothing: a registry would collect once only to learn the names."""
        return iter(())

    def collect(self) -> Metrics:
        """Read all numbers. Raises StoreError."""
        yield _gauge("lora_studio_info", "1, with the version as a label.", "version", {__version__: 1})
        jobs = {str(status): number for status, number in jobs_by_status(self._studio.database).items()}
        yield _gauge("lora_studio_jobs", "Trainings by status.", "status", jobs)
        generations = Counter(ticket.state for ticket in self._studio.generation_queue.tickets())
        queues = {"training": jobs["queued"], "generation": generations[GenerationState.WAITING]}
        yield _gauge("lora_studio_queue_length", "Jobs that wait, by queue.", "queue", queues)
        yield CounterMetricFamily(
            "lora_studio_steps_trained", "Steps of all trainings of this home.", value=self._trained()
        )
        drawn = self._studio.generation_queue.drawn
        yield CounterMetricFamily("lora_studio_images_drawn", "Pictures drawn by this process.", value=drawn)
        free = free_bytes(self._studio.settings.home)
        if free is not None:
            yield GaugeMetricFamily("lora_studio_disk_free_bytes", "Free bytes of the home's disk.", free)
        answers = CounterMetricFamily(
            "lora_studio_http_answers", "HTTP answers by class of status.", labels=["class"]
        )
        for hundreds in range(1, 6):
            answers.add_metric([f"{hundreds}xx"], self._answers.get(hundreds, 0))
        yield answers

    def _trained(self) -> int:
        """Steps trained, which never falls: a training that goes back to an earlier state keeps its most."""
        self._steps |= Counter(steps_by_job(self._studio.database))
        return self._steps.total()


def registry(studio: Studio, answers: Mapping[int, int]) -> CollectorRegistry:
    """A registry of one server; its process numbers are there on Linux only, where the system has them."""
    made = CollectorRegistry()
    made.register(StudioCollector(studio, answers))
    ProcessCollector(registry=made)
    return made


def _gauge(name: str, what: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=[label])
    for text, value in values.items():
        family.add_metric([text], value)
    return family
