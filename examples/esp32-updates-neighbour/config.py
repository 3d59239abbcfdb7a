"""What is particular to your board: pins, port, network, and where the images are."""

SSID, PASSWORD = "", ""  #: leave SSID empty if something else brings the network up

HOST, PORT = "192.168.1.10", 8000
MANIFEST = "/neighbour.json"

UART, TX, RX, BAUD = 1, 17, 16, 115200
RESET_PIN = 4  #: to the neighbour's NRST, open drain
RECOVERY_PIN = 5  #: to the pin that its MCUboot samples
RECOVERY_LEVEL = 1  #: the level that asks for recovery

KEY_HASH = None  #: bytes.fromhex("…") of the key that the neighbour trusts: `bootwright` shows it; None: not compared
