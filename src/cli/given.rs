//! The pictures that a run varies, edits or inverts, with their mask: read before any GPU work, handed out by image.

use std::ops::Range;
use std::path::Path;

use super::input::{self, Labeled};
use super::values::{Expected, file_name, given};
use crate::image::Images;
use crate::recipe::GivenFile;
use crate::resize::Fit;
use crate::sampler::Settings;
use crate::sampler::edit::{Edit, Given};
use crate::tensor::Shape;
use crate::{Error, Result};

/// Given pictures.
#[derive(Debug)]
pub struct Pictures {
    /// Their file, as the recipe names it.
    pub init: GivenFile,
    /// Their mask's file.
    pub mask: Option<GivenFile>,
    /// How they are brought to the model's size.
    pub fit: Option<Fit>,
    /// The pictures, and their classes where they say.
    pub given: Labeled,
    shown: Option<Images>,
}

/// The files of [`Pictures`], and what the arguments say of them.
#[derive(Debug)]
pub struct Files<'a> {
    /// The pictures.
    pub path: &'a Path,
    /// What `--expect` calls them.
    pub name: &'a str,
    /// Their mask.
    pub mask: Option<&'a Path>,
    /// `--fit`.
    pub fit: Option<Fit>,
    /// `--expect`.
    pub expected: &'a [Expected],
}

impl Pictures {
    /// Reads them.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Options`] for files that hold no pictures, several masks, or other values than expected.
    pub fn read(files: &Files<'_>) -> Result<Self> {
        let pictures = input::images(files.path)?;
        let file = GivenFile::of(&file_name(files.path), &pictures.images);
        let init = given(files.expected, files.name, files.path, file)?;
        let (mut mask, mut shown) = (None, None);
        if let Some(path) = files.mask {
            let Labeled { images, .. } = input::images(path)?;
            if images.count() != 1 {
                return Err(input::refuse(
                    path,
                    format!("{} masks; give one, which holds for every picture", images.count()),
                ));
            }
            mask = Some(given(files.expected, "mask", path, GivenFile::of(&file_name(path), &images))?);
            shown = Some(images);
        }
        Ok(Self { init, mask, fit: files.fit, given: pictures, shown })
    }

    /// The number of pictures.
    pub fn count(&self) -> usize {
        self.given.images.count()
    }

    /// Refuses pictures that do not fit: one at a time, because they may be larger at the model's size.
    ///
    /// # Errors
    /// As [`Pictures::rows`].
    pub fn check(&self, settings: &Settings, shape: Shape) -> Result<()> {
        let times = settings.edit.and_then(|edit| edit.upscale).unwrap_or(1).max(1);
        self.given.check_grid(&self.init.name, [shape.h / times, shape.w / times])?;
        (0..self.count() as u32).try_for_each(|k| self.rows(settings, shape, k..k + 1).map(drop))
    }

    /// What the images `indices` of a run start from, each of `shape`: image K from picture K modulo their number.
    ///
    /// # Errors
    /// [`Error::Options`] for pictures that do not fit.
    pub fn rows(&self, settings: &Settings, shape: Shape, indices: Range<u32>) -> Result<Edit> {
        let own = Given { pictures: &self.given.images, mask: self.shown.as_ref(), fit: self.fit };
        let shape = Shape { n: indices.len(), ..shape };
        Edit::new(&own, settings.edit, shape, indices.start).map_err(|error| match error {
            Error::Options(message) => Error::Options(format!("{}: {message}", self.init.name)),
            other => other,
        })
    }
}
