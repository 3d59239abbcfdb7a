"""The pins and the network of an ESP32."""

import socket
import time

import config
from machine import Pin


class Pins:
    """The two wires to the neighbour besides the UART."""

    def __init__(self):
        self.recovery_pin = Pin(config.RECOVERY_PIN, Pin.OUT, value=1 - config.RECOVERY_LEVEL)
        self.reset_pin = Pin(config.RESET_PIN, Pin.OPEN_DRAIN, value=1)

    def recovery(self, held):
        """Ask for recovery at the next reset, or no longer."""
        self.recovery_pin.value(config.RECOVERY_LEVEL if held else 1 - config.RECOVERY_LEVEL)

    def reset(self):
        """Pulse the neighbour's reset."""
        self.reset_pin.value(0)
        time.sleep_ms(20)
        self.reset_pin.value(1)


def bring_network_up():
    """Join the access point of `config`."""
    import network

    station = network.WLAN(network.STA_IF)
    station.active(True)
    station.connect(config.SSID, config.PASSWORD)
    while not station.isconnected():
        time.sleep_ms(100)


def connect():
    """A connection to the web server."""
    stream = socket.socket()
    stream.settimeout(10)
    stream.connect(socket.getaddrinfo(config.HOST, config.PORT)[0][-1])
    return stream
