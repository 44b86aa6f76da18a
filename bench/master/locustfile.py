"""The class that simulated workers say they have; its users run nowhere."""

from locust import User, task


class SimulatedUser(User):
    @task
    def nothing(self):
        pass
