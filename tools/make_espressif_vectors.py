"""Make tests/vectors/espressif anew: run Espressif's own tools and write down what they answered.

    python tools/make_espressif_vectors.py ESP_IDF_CHECKOUT

espsecure must be installed beside this Python (`pip install -e '.[peers]'`). Nothing here computes an expected value.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VECTORS = ROOT / "tests" / "vectors" / "espressif"
ESPSECURE = str(Path(sys.executable).parent / "espsecure")
SCHEMES = {"rsa-3072": "rsa3072", "ecdsa-p192": "ecdsa192", "ecdsa-p256": "ecdsa256", "ecdsa-p384": "ecdsa384"}

TABLES = {
    "single app": "nvs, data, nvs, , 0x6000\nphy_init, data, phy, , 4K\nfactory, app, factory, , 1M\n",
    "two ota": "nvs,data,nvs,,24K,\notadata,data,ota,,8K,\nphy,data,phy,,4K,\nota_0,app,ota_0,,1536K,\n"
    "ota_1,app,ota_1,,1536K,\n",
    "encrypted": "nvs,data,nvs,0x9000,0x6000,\nkeys,data,nvs_keys,,0x1000,encrypted\n"
    "storage,data,spiffs,,200K,encrypted\n"
    "settings,data,nvs,,8K,readonly\nfactory,app,factory,0x80000,-0x200000,\n",
    "own types": "# a comment\n\nown,0x40,0x06,0x20000,0x3000,readonly:encrypted\nsixteen_chars_xx,0x41,5,,12288,\n",
}


def main() -> None:
    """Run the tools and write the files."""
    idf = Path(sys.argv[1])
    version = "espsecure" + run(ESPSECURE, "--help").split("espsecure")[2].split(" - ")[0]
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        write("flash_encryption", version, flash_encryption(work))
        write("secure_boot_v2", version, secure_boot_v2(work))
        write("secure_boot_v1", version, secure_boot_v1(work))
        commit = run("git", "-C", str(idf), "rev-parse", "HEAD").strip()
        write("partitions", f"ESP-IDF {commit} gen_esp32part.py", partitions(work, idf))
        write("nvs_keys", f"ESP-IDF {commit} components/nvs_flash/nvs_partition_generator/testdata", nvs_keys(idf))


def flash_encryption(work: Path) -> Iterator[dict[str, object]]:
    """Both schemes, all key lengths, all values of FLASH_CRYPT_CONFIG, aligned and not."""
    for size, scheme, address, length in [
        *((size, "xts", address, length) for size in (16, 32, 64) for address, length in PLACES),
        *((size, "esp32", address, length) for size in (24, 32) for address, length in PLACES),
    ]:
        yield encrypted(work, scheme, size, address, length, 0xF)
    for crypt_config in range(16):
        yield encrypted(work, "esp32", 32, 0xABCDE0, 96, crypt_config)


PLACES = ((0x0, 128), (0x1000, 64), (0x10010, 48), (0x8070, 400), (0xFFFF80, 128))


def encrypted(work: Path, scheme: str, size: int, address: int, length: int, crypt_config: int) -> dict[str, object]:
    """One vector of flash encryption."""
    key, plaintext = pattern(f"key {size}", size), pattern(f"{address:#x}", length)
    put(work, key=key, plaintext=plaintext)
    options = ["--aes-xts"] if scheme == "xts" else ["--flash-crypt-conf", str(crypt_config)]
    files = ["-k", "key", "-a", hex(address), "-o", "out", "plaintext"]
    run(ESPSECURE, "encrypt-flash-data", *options, *files, cwd=work)
    ciphertext = (work / "out").read_bytes()
    vector: dict[str, object] = {"scheme": scheme, "key": key.hex(), "address": address}
    vector |= {"crypt_config": crypt_config} if scheme == "esp32" else {}
    return vector | {"plaintext": plaintext.hex(), "ciphertext": ciphertext.hex()}


def secure_boot_v2(work: Path) -> Iterator[dict[str, object]]:
    """A signature sector of each scheme, one and several blocks, and the key digests."""
    for key_type, scheme in SCHEMES.items():
        for count in (1, 3):
            image = pattern(key_type, 300 * count)
            put(work, image=image)
            keys = [f"{key_type}-{count}-{number}.pem" for number in range(count)]
            for key in keys:
                run(ESPSECURE, "generate-signing-key", "-v", "2", "-s", scheme, key, cwd=work)
            run(ESPSECURE, "sign-data", *flags("-k", keys), "-v", "2", "-o", "signed", "image", cwd=work)
            signed = (work / "signed").read_bytes()
            yield {
                "key_type": key_type,
                "image": image.hex(),
                "sector_sha256": hashlib.sha256(signed[-4096:]).hexdigest(),
                "blocks": [signed[4096 + 1216 * n : 4096 + 1216 * (n + 1)].hex() for n in range(count)],
                "keys": [public(work, key) for key in keys],
            }


def public(work: Path, key: str) -> dict[str, str]:
    """The public half of a key and its digest."""
    run(ESPSECURE, "extract-public-key", "-v", "2", "-k", key, "public", cwd=work)
    run(ESPSECURE, "digest-sbv2-public-key", "-k", key, "-o", "digest", cwd=work)
    return {"public": (work / "public").read_text(), "digest": (work / "digest").read_bytes().hex()}


def secure_boot_v1(work: Path) -> Iterator[dict[str, object]]:
    """Digests of bootloaders with and without a tail that the engine drops; a signed application."""
    for size in (0x400, 0x410, 0x420, 0x430):
        for key_size in (24, 32):
            image = small_image(size)
            key, iv = pattern(f"v1 key {key_size}", key_size), pattern("iv", 128)
            put(work, image=image, key=key, iv=iv)
            run(ESPSECURE, "digest-secure-bootloader", "-k", "key", "--iv", "iv", "-o", "out", "image", cwd=work)
            digest = (work / "out").read_bytes()[128:192]
            yield {
                "bootloader": image.hex(),
                "key": key.hex(),
                "iv": iv.hex(),
                "digest": digest.hex(),
                "file_sha256": hashlib.sha256((work / "out").read_bytes()).hexdigest(),
            }
    run(ESPSECURE, "generate-signing-key", "-v", "1", "v1.pem", cwd=work)
    data = pattern("application", 200)
    put(work, data=data)
    run(ESPSECURE, "sign-data", "-k", "v1.pem", "-v", "1", "-o", "out", "data", cwd=work)
    run(ESPSECURE, "extract-public-key", "-v", "1", "-k", "v1.pem", "raw", cwd=work)
    signed, raw = (work / "out").read_bytes(), (work / "raw").read_bytes()
    yield {"data": data.hex(), "public": raw.hex(), "signature_block": signed[200:].hex()}


def small_image(size: int) -> bytes:
    """A valid image of one segment, with its hash appended."""
    data = pattern("segment", size - 24 - 8 - 32 - 4)
    header = bytes.fromhex("e9010220 00000840 ee000000 0000 00 0000 ffff 00000000 01".replace(" ", ""))
    body = header + (0x4008_0000).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data
    checksum = 0xEF
    for byte in data:
        checksum ^= byte
    body += bytes(size - 32 - 1 - len(body)) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def partitions(work: Path, idf: Path) -> Iterator[dict[str, object]]:
    """Tables in both forms."""
    tool = work / "gen_esp32part.py"
    tool.write_bytes(show(idf, "components/partition_table/gen_esp32part.py"))
    for name, text in TABLES.items():
        (work / "table.csv").write_text(text)
        run(sys.executable, str(tool), "-q", "table.csv", "table.bin", cwd=work)
        back = run(sys.executable, str(tool), "-q", "table.bin", cwd=work)
        binary = (work / "table.bin").read_bytes().rstrip(b"\xff")
        yield {"name": name, "csv": text, "binary_without_fill": binary.hex(), "csv_of_binary": back}


def nvs_keys(idf: Path) -> Iterator[dict[str, object]]:
    """ESP-IDF's own test data: keys, their partition, and the pair that an HMAC key gives."""
    data = "components/nvs_flash/nvs_partition_generator/testdata/"
    yield {"partition_without_fill": show(idf, data + "sample_encryption_keys.bin").rstrip(b"\xff").hex()}
    yield {
        "hmac_key": show(idf, data + "sample_hmac_key.bin").hex(),
        "partition_without_fill": show(idf, data + "sample_encryption_keys_hmac.bin").rstrip(b"\xff").hex(),
    }


def show(idf: Path, path: str) -> bytes:
    """A file of the checkout's commit."""
    return subprocess.run(["git", "-C", str(idf), "show", f"HEAD:{path}"], check=True, capture_output=True).stdout


def pattern(name: str, size: int) -> bytes:
    """Bytes that look random and are the same each time."""
    return hashlib.shake_128(name.encode()).digest(size)


def flags(flag: str, values: list[str]) -> list[str]:
    """`flag value flag value …`."""
    return [word for value in values for word in (flag, value)]


def put(work: Path, **files: bytes) -> None:
    """Write the inputs of a run."""
    for name, content in files.items():
        (work / name).write_bytes(content)


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a tool and return what it printed."""
    return subprocess.run(command, check=True, cwd=cwd, capture_output=True, text=True).stdout


def write(name: str, made_by: str, vectors: Iterator[dict[str, object]]) -> None:
    """Write a file of vectors, one a line."""
    rows = ",\n  ".join(json.dumps(vector) for vector in vectors)
    text = f'{{\n "schema": 1,\n "made_by": {json.dumps(made_by.strip())},\n "vectors": [\n  {rows}\n ]\n}}\n'
    (VECTORS / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()
