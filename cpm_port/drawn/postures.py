"""How a drawn person stands: the angles of their joints, and the points that these give.

Conventions: lengths are in statures (standing height 1). Axes: x right, y down, z towards the viewer; a person who is
not turned looks at the viewer, so the person's left is on the right. Angles are radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDES", "Arm", "Leg", "Posture", "Skeleton", "random_posture", "skeleton", "walking_posture"]

Array = NDArray[np.float64]
Skeleton = dict[str, Array]
"""Points in statures about the middle of the hips: the parts of `CPM14`, and helpers; matrices of the head, the chest,
the hips and the hands."""

SIDES = {"right": 1.0, "left": -1.0}
_DOWN = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Arm:
    """Shoulder (forward, outward, twist about the upper arm), elbow and hand."""

    forward: float
    out: float
    elbow: float
    twist: float
    hand: float


@dataclass(frozen=True)
class Leg:
    """Hip (forward, outward, knee turned outward), knee and foot."""

    forward: float
    out: float
    knee: float
    turn: float
    foot: float


@dataclass(frozen=True)
class Posture:
    """The angles of a person's joints.

    Attributes
    ----------
    yaw, roll, pitch : float
        Of the hips: turned to the right side of the picture, in the picture's plane, towards the viewer.
    lean, bend : float
        How far hips and chest lean forward.
    chest, head : (float, float), (float, float, float)
        The chest turned and tilted; the head turned, nodding and tilted.
    arms, legs : dict of str to Arm, Leg
        By side, "right" and "left".
    build : float
        Length of the trunk, 1 as a rule.
    """

    yaw: float
    roll: float
    pitch: float
    lean: float
    bend: float
    chest: tuple[float, float]
    head: tuple[float, float, float]
    arms: dict[str, Arm]
    legs: dict[str, Leg]
    build: float = 1.0


def skeleton(posture: Posture) -> Skeleton:
    """Return where a posture's points lie."""
    build = posture.build
    hips = _rz(posture.roll) @ _rx(posture.pitch) @ _ry(posture.yaw) @ _rx(-posture.lean * 0.4)
    chest = hips @ _ry(posture.chest[0]) @ _rz(posture.chest[1]) @ _rx(-posture.bend)
    head = chest @ _ry(posture.head[0]) @ _rx(posture.head[1]) @ _rz(posture.head[2])
    points: Skeleton = {"hips": hips, "chest": chest, "head": head, "pelvis": np.zeros(3)}
    points["waist"] = hips @ np.array([0, -0.09, 0])
    points["neck"] = points["waist"] + chest @ np.array([0, -0.24 * build, 0.005])
    points["head_top"] = points["neck"] + head @ np.array([0, -0.14, 0])
    points["throat"] = points["waist"] + chest @ np.array([0, -0.2 * build, -0.01])
    for name, side in SIDES.items():
        arm, leg = posture.arms[name], posture.legs[name]
        shoulder = points["waist"] + chest @ np.array([-side * 0.105 * build, -0.185 * build, -0.005])
        upper = chest @ _rz(side * arm.out) @ _rx(arm.forward)
        lower = upper @ _ry(side * arm.twist) @ _rx(arm.elbow)
        points[f"{name}_shoulder"] = shoulder
        points[f"{name}_elbow"] = shoulder + upper @ _DOWN * 0.165
        points[f"{name}_wrist"] = points[f"{name}_elbow"] + lower @ _DOWN * 0.145
        points[f"{name}_hand"] = points[f"{name}_wrist"] + lower @ _rx(arm.hand) @ _DOWN * 0.065
        points[f"{name}_grip"] = lower
        hip = hips @ np.array([-side * 0.058, 0.0, 0.0])
        thigh = hips @ _rz(side * leg.out) @ _ry(-side * leg.turn) @ _rx(leg.forward)
        shank = thigh @ _rx(-leg.knee)
        points[f"{name}_hip"] = hip
        points[f"{name}_knee"] = hip + thigh @ _DOWN * 0.245
        points[f"{name}_ankle"] = points[f"{name}_knee"] + shank @ _DOWN * 0.235
        foot = shank @ _rx(leg.foot)
        points[f"{name}_toe"] = points[f"{name}_ankle"] + foot @ np.array([0, 0.025, 0.09])
        points[f"{name}_heel"] = points[f"{name}_ankle"] + foot @ np.array([0, 0.02, -0.012])
    return points


def walking_posture(phase: float, pace: float, yaw: float, build: float = 1.0) -> Posture:
    """Return a person who walks.

    Parameters
    ----------
    phase : float
        Of the step: 2 pi for two steps.
    pace : float
        0 stands, 1 walks briskly.
    yaw : float
        Where they look: 0 at the viewer, positive to the right side of the picture.
    build : float
        Length of the trunk, 1 as a rule.
    """
    arms, legs = {}, {}
    for name, side in SIDES.items():
        forward, swing = side * math.sin(phase), max(side * math.cos(phase), 0.0)  # a leg swings while it moves forward
        legs[name] = Leg(0.5 * pace * forward, 0.04, 0.1 + 0.9 * pace * swing, 0.1, 0.0)
        arms[name] = Arm(-0.45 * pace * forward, 0.12, 0.3 + 0.3 * pace, 0.2, 0.1)
    turn = 0.15 * pace * math.sin(phase)
    return Posture(yaw, 0.0, 0.0, 0.1 * pace, 0.03, (-turn, 0.0), (turn, 0.05, 0.0), arms, legs, build)


def random_posture(rng: np.random.Generator, difficulty: float) -> Posture:
    """Draw a posture.

    Parameters
    ----------
    rng : Generator
    difficulty : float
        0 to 1: from upright people who face the viewer to anyone in any direction.
    """
    activity = rng.choice(6, p=_mixed((0.45, 0.4, 0.15, 0, 0, 0), (0.2, 0.24, 0.22, 0.1, 0.12, 0.12), difficulty))
    wild = 0.4 + 0.6 * difficulty
    yaw = rng.normal(0, 0.25 + 0.35 * difficulty)
    if rng.random() < 0.5 * difficulty:
        yaw = rng.uniform(-math.pi, math.pi)
    roll = rng.normal(0, 0.05 + 0.12 * difficulty)
    if rng.random() < 0.1 * difficulty:
        roll = rng.uniform(-math.pi, math.pi)
    lean = rng.normal(0, 0.06) + (rng.uniform(0, 0.9) if activity in (4, 5) else 0)
    build = 1 + 0.06 * rng.normal()
    pitch = rng.normal(0, 0.1)
    bend = 0.6 * lean + (rng.normal(0.1, 0.25) if activity == 5 else rng.normal(0, 0.06))
    chest = (rng.normal(0, 0.15 * wild), rng.normal(0, 0.1 * wild))
    head = (rng.normal(0, 0.35 * wild), rng.normal(0.05, 0.2), rng.normal(0, 0.1))
    stride = rng.normal(0, 0.55)
    arms, legs = {}, {}
    for name, side in SIDES.items():  # the order of the numbers drawn is part of every data set
        arms[name] = Arm(*_arm_angles(rng, int(activity), side * stride, wild), rng.uniform(-0.3, 0.5))
        legs[name] = Leg(
            *_leg_angles(rng, int(activity), -side * stride, wild), rng.uniform(0, 0.35), rng.normal(0, 0.15)
        )
    return Posture(yaw, roll, pitch, lean, bend, chest, head, arms, legs, build)


def _arm_angles(
    rng: np.random.Generator, activity: int, swing: float, wild: float
) -> tuple[float, float, float, float]:
    """Draw shoulder (forward, outward), elbow and twist."""
    if activity == 0 or (activity in (3, 4) and rng.random() < 0.4):  # hanging
        return (
            rng.normal(0.05, 0.2 * wild),
            abs(rng.normal(0.12, 0.12)),
            abs(rng.normal(0.2, 0.3)),
            rng.normal(0.2, 0.3),
        )
    if activity == 2:  # walking, running
        return rng.normal(swing, 0.2), abs(rng.normal(0.1, 0.12)), rng.uniform(0.2, 1.7), rng.normal(0.3, 0.3)
    if rng.random() < 0.3:  # hand on the hip, or before the body
        return rng.normal(0.0, 0.25), rng.uniform(0.3, 0.8), rng.uniform(1.2, 2.0), rng.uniform(0.6, 1.5)
    return rng.uniform(-0.5, 2.7), rng.uniform(0, 1.6) * wild, rng.uniform(0, 2.2), rng.normal(0.1, 0.6)


def _leg_angles(rng: np.random.Generator, activity: int, swing: float, wild: float) -> tuple[float, float, float]:
    """Draw hip (forward, outward) and knee."""
    if activity in (0, 1):  # standing
        return rng.normal(0.03, 0.1 * wild), abs(rng.normal(0.08, 0.1)), abs(rng.normal(0, 0.15))
    if activity == 2:
        return rng.normal(swing, 0.15), abs(rng.normal(0.03, 0.06)), abs(rng.normal(0.25, 0.3)) + max(-swing, 0) * 0.8
    if activity == 3:  # sitting
        return rng.normal(1.45, 0.15), rng.uniform(0, 0.4), rng.normal(1.4, 0.3)
    if activity == 4:  # crouching, climbing
        return rng.uniform(0.6, 2.1), rng.uniform(0.05, 0.6), rng.uniform(0.8, 2.3)
    return rng.uniform(-0.6, 1.7), rng.uniform(0, 0.9), abs(rng.normal(0.3, 0.6))  # leaping, kicking, dancing


def _mixed(easy: tuple[float, ...], hard: tuple[float, ...], difficulty: float) -> Array:
    return (1 - difficulty) * np.array(easy) + difficulty * np.array(hard)


def _rx(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _ry(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _rz(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
