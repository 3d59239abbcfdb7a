"""The ESP32's application: fetch an image and update the neighbour with it."""

import config
from board import Pins, bring_network_up, connect
from machine import UART
from smp.client import console_link
from smp.uart import Ticks, run
from updater import FileJournal, HttpSource, Updater

if config.SSID:
    bring_network_up()
uart = UART(config.UART, baudrate=config.BAUD, tx=config.TX, rx=config.RX, rxbuf=1024, timeout=0)
link = console_link(Ticks(), capacity=1020, replies=512)
updater = Updater(
    link,
    lambda program: run(program, link, uart),
    Pins(),
    getattr(config, "JOURNAL", None) or FileJournal(),
    print,
    config.KEY_HASH,
)
updater.update(HttpSource(connect, config.HOST, config.MANIFEST))
